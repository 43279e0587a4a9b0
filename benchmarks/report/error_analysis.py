"""Where a student falls short of its teacher: by classes with many and few photos, by class, by confusion.

Every figure compares two models on the same validation photos. The photos on which only one of them is right decide:
an interval (`attar.metrics.paired_interval`) says how large a change may be. A class or a confusion counts as changed
only if it stands out from chance among all of them (`sign_test`, `beyond_chance`). With few photos per class little
does, however large its change looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.report.compare import photo_name, predict_bundle
from attar.benchmarks.report.comparison import Interval
from attar.benchmarks.report.per_class import Change, changes_of, difference, members_of
from attar.benchmarks.report.predictions import FOLDER, Predictions
from attar.bundle import Bundle
from attar.data.photos import Photos, labels_of
from attar.data.pixels import Pixels
from attar.errors import InputError
from attar.extras import version
from attar.metrics import beyond_chance, paired_interval, sign_test

SCHEMA = 1
ALL = "all"
"""Name of the last row, which counts every class."""
CONFUSIONS = 20
PHOTOS = 5
"""How many confusions are kept, and photos of each are named."""


@dataclass(frozen=True)
class GroupRow:
    """Classes with about as many training photos.

    Attributes:
        name: such as `tail`; `ALL` of the last row.
        classes: how many.
        trained: training photos of its smallest and largest class.
        images: validation photos.
        recall: share of these given the right class, by model.
        change: the student's recall minus the other model's, by that model.
    """

    name: str
    classes: int
    trained: tuple[int, int]
    images: int
    recall: dict[str, float]
    change: dict[str, Interval]


@dataclass(frozen=True)
class ClassChange:
    """One class, by the group it is in; fields as `GroupRow`'s."""

    label: str
    group: str
    trained: int
    images: int
    recall: dict[str, float]
    change: dict[str, Change]


@dataclass(frozen=True)
class Confusion:
    """Photos of a class that the student gives to another class, and the teacher does not.

    Attributes:
        label: what the photos show.
        answered: what the student says.
        student, teacher: how many photos of `label` each gives to `answered`, of `images`.
        p: that the two differ by chance only.
        certain: whether that stands out among all confusions of either.
        photos: a few that only the student confuses.
    """

    label: str
    answered: str
    student: int
    teacher: int
    images: int
    p: float
    certain: bool
    photos: tuple[str, ...]


@dataclass(frozen=True)
class Shortfall:
    """Everything that the page shows. `models` maps teacher, student and baseline to name and fingerprint."""

    models: dict[str, dict[str, str]]
    images: int
    grouping: str
    groups: tuple[GroupRow, ...]
    classes: tuple[ClassChange, ...]
    confusions: tuple[Confusion, ...]
    notes: tuple[str, ...]

    def lost(self, against: str = "teacher") -> list[ClassChange]:
        """The classes that certainly lost, the worst first."""
        changed = [row for row in self.classes if (c := row.change.get(against)) and c.certain and c.value < 0]
        return sorted(changed, key=lambda row: row.change[against].value)

    def gained(self, against: str = "teacher") -> list[ClassChange]:
        """The classes that certainly gained, the best first."""
        changed = [row for row in self.classes if (c := row.change.get(against)) and c.certain and c.value > 0]
        return sorted(changed, key=lambda row: -row.change[against].value)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"schema": SCHEMA, **asdict(self)}


def shortfall(
    student: Bundle, photos: Photos, output: Path, *, teacher: Bundle | None = None, baseline: Bundle | None = None
) -> Shortfall:
    """Run the models on the validation photos and compare them.

    Args:
        student: the student.
        photos: with the student's labels; training photos are counted, validation photos looked at.
        output: folder in which answers are kept, so that they need not be computed again.
        teacher: what it was to learn.
        baseline: another student, such as one fitted without the teacher.

    Raises:
        InputError: models and photos have other classes, or there is nothing to compare the student with.
    """
    if teacher is None and baseline is None:
        raise InputError(f"{student.path}: nothing to compare it with. Give --teacher, --baseline, or both.")
    models = {"teacher": teacher, "student": student, "baseline": baseline}
    given = {name: bundle for name, bundle in models.items() if bundle is not None}
    answers = {name: _answers(bundle, photos, output) for name, bundle in given.items()}
    names = [photo_name(photo.shown, photos) for photo in photos.val]
    counts = np.bincount(labels_of(photos.train), minlength=len(photos.labels))
    about = {name: {"name": bundle.name, "fingerprint": bundle.fingerprint} for name, bundle in given.items()}
    notes = []
    taught = (student.provenance.get("teacher") or {}).get("fingerprint")
    if teacher is not None and taught != teacher.fingerprint:
        notes.append("The student was not taught by this teacher.")
    return analyse(answers, labels_of(photos.val), counts, photos.labels, names, models=about, notes=notes)


def _answers(bundle: Bundle, photos: Photos, output: Path) -> np.ndarray:
    """The most probable class of every validation photo, int64 (images,)."""
    if bundle.labels != photos.labels:
        raise InputError(
            f"{bundle.path}: its {len(bundle.labels)} classes are not those {len(photos.labels)} of "
            f"{photos.spec.path}. Give the photos that the {bundle.kind} was made from."
        )
    identity = [bundle.fingerprint, photos.fingerprint, len(photos.val), version("torch")]

    def compute() -> Iterator[np.ndarray]:
        return predict_bundle(bundle, Pixels(photos.val, bundle.preprocessing, "Reading validation photos"))

    return Predictions(output / FOLDER).get(identity, (len(photos.val), len(photos.labels)), compute).best


def analyse(
    answers: Mapping[str, np.ndarray],
    labels: np.ndarray,
    counts: np.ndarray,
    classes: Sequence[str],
    photos: Sequence[str],
    *,
    models: dict[str, dict[str, str]] | None = None,
    notes: Sequence[str] = (),
) -> Shortfall:
    """The comparison itself.

    Args:
        answers: class indices (images,) by model: `student`, and `teacher`, `baseline` or both.
        labels: the true ones, (images,).
        counts: training photos of each class, (C,).
        classes: their names.
        photos: the images' names.
        models: what to say of each model.
        notes: what to tell beside the figures.
    """
    grouping, group = groups_of(counts)
    seen = np.bincount(labels, minlength=len(classes))
    if (seen == 0).any():
        notes = [*notes, f"Classes with no validation photo, left out: {(seen == 0).sum()}."]
    teacher = answers.get("teacher")
    return Shortfall(
        models=models or {},
        images=len(labels),
        grouping=grouping,
        groups=_groups(answers, labels, counts, group),
        classes=_classes(answers, labels, counts, group, classes),
        confusions=() if teacher is None else _confusions(answers["student"], teacher, labels, classes, photos),
        notes=tuple(notes),
    )


def groups_of(counts: np.ndarray) -> tuple[str, np.ndarray]:
    """How classes are grouped by their training photos (C,), in words, and each one's group, strings (C,).

    More than 100, 20 to 100, and fewer than 20 photos, as Liu et al. (arXiv 1904.05160, section 5) divide long-tailed
    data, if there are classes of all three kinds. Else thirds of the classes, unless all are of about the same size.
    """
    many, few = counts > 100, counts < 20
    if many.any() and few.any() and (~many & ~few).any():
        named = np.select([many, few], ["many", "few"], "medium")
        return "many: more than 100 training photos a class; medium: 20 to 100; few: fewer than 20", named
    if counts.max() < 2 * counts.min():
        words = f"one, as every class has between {counts.min()} and {counts.max()} training photos"
        return words, np.full(len(counts), ALL)
    names = ["head", "tail"] if len(counts) == 2 else ["head", "middle", "tail"]
    group = np.empty(len(counts), dtype="<U6")
    for name, members in zip(names, np.array_split(np.argsort(-counts, kind="stable"), len(names))):
        group[members] = name
    size = "halves" if len(names) == 2 else "thirds"
    return f"{', '.join(names)}: {size} of the classes by training photos, equals in the labels' order", group


def _groups(
    answers: Mapping[str, np.ndarray], labels: np.ndarray, counts: np.ndarray, group: np.ndarray
) -> tuple[GroupRow, ...]:
    right = {name: answered == labels for name, answered in answers.items()}
    rows = []
    names = sorted({*group[labels].tolist()} - {ALL}, key=lambda name: -counts[group == name].max())
    for name in [*names, ALL]:
        members = (group == name) | (name == ALL)
        own, inside = counts[members], members[labels]
        recall = {model: float(hits[inside].mean()) for model, hits in right.items()}
        change = {
            other: Interval(
                recall["student"] - recall[other], *paired_interval(difference(right["student"], right[other])[inside])
            )
            for other in right
            if other != "student"
        }
        trained = (int(own.min()), int(own.max()))
        rows.append(GroupRow(name, len(own), trained, int(inside.sum()), recall, change))
    return tuple(rows)


def _classes(
    answers: Mapping[str, np.ndarray], labels: np.ndarray, counts: np.ndarray, group: np.ndarray, names: Sequence[str]
) -> tuple[ClassChange, ...]:
    right = {name: answered == labels for name, answered in answers.items()}
    members = members_of(labels)
    changes: dict[int, dict[str, Change]] = {c: {} for c in members}
    for other in (name for name in right if name != "student"):
        for c, change in changes_of(right["student"], right[other], members).items():
            changes[c][other] = change
    return tuple(
        ClassChange(
            names[c],
            str(group[c]),
            int(counts[c]),
            len(inside),
            {model: float(hits[inside].mean()) for model, hits in right.items()},
            changes[c],
        )
        for c, inside in members.items()
    )


def _confusions(
    student: np.ndarray, teacher: np.ndarray, labels: np.ndarray, names: Sequence[str], photos: Sequence[str]
) -> tuple[Confusion, ...]:
    """Pairs that the student confuses on more photos than the teacher, what stands out from chance first."""
    pairs = sorted({(a, b) for model in (student, teacher) for a, b in zip(labels.tolist(), model.tolist()) if a != b})
    members = {a: np.flatnonzero(labels == a) for a, _ in pairs}
    ours = [members[a][student[members[a]] == b] for a, b in pairs]
    theirs = [members[a][teacher[members[a]] == b] for a, b in pairs]
    new = [np.setdiff1d(own, other) for own, other in zip(ours, theirs)]
    gone = [np.setdiff1d(other, own) for own, other in zip(ours, theirs)]
    p = sign_test(np.array([len(n) for n in new], dtype=int), np.array([len(g) for g in gone], dtype=int))
    certain = beyond_chance(p)
    worse = [i for i in range(len(pairs)) if len(ours[i]) > len(theirs[i])]
    worse.sort(key=lambda i: (not certain[i], len(theirs[i]) - len(ours[i])))
    return tuple(
        Confusion(
            names[pairs[i][0]],
            names[pairs[i][1]],
            len(ours[i]),
            len(theirs[i]),
            len(members[pairs[i][0]]),
            float(p[i]),
            bool(certain[i]),
            tuple(photos[j] for j in new[i][:PHOTOS]),
        )
        for i in worse[:CONFUSIONS]
    )
