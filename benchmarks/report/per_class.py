"""How two models differ class by class: of each class's recall the change, and whether it is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attar.answers import Answers
from attar.benchmarks.report.comparison import ClassRow, EveryClass, Example, Interval
from attar.data.photos import Photo
from attar.metrics import beyond_chance, paired_interval, sign_test

CLASSES = 10
"""How many classes a report shows."""
PHOTOS = 72
"""How many photos it shows of all of them together."""
MOST, FEWEST = 12, 3
"""Photos of one class and one direction, at most, and as long as there are any."""


@dataclass(frozen=True)
class Change:
    """Of a class's recall, one model's minus another's; `certain` if it stands out among all classes."""

    value: float
    low: float
    high: float
    p: float
    certain: bool


def members_of(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Class -> the numbers of its images, for every class that has some."""
    return {c: np.flatnonzero(labels == c) for c in np.unique(labels).tolist()}


def difference(right: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One model's correctness minus another's, per image: -1, 0 or 1."""
    return right.astype(int) - other.astype(int)


def changes_of(right: np.ndarray, other: np.ndarray, members: Mapping[int, np.ndarray]) -> dict[int, Change]:
    """Each class's change.

    Args:
        right, other: whether each of the two models is right, bool (images,).
        members: as `members_of` gives them.
    """
    differences = {c: difference(right, other)[inside] for c, inside in members.items()}
    won, lost = (np.array([(sign * d > 0).sum() for d in differences.values()]) for sign in (1, -1))
    p = sign_test(won, lost)
    return {
        c: Change(float(each.mean()), *paired_interval(each), float(own), bool(certain))
        for (c, each), own, certain in zip(differences.items(), p, beyond_chance(p))
    }


def class_rows(
    rows: Mapping[str, Answers],
    compared: tuple[str, str],
    labels: np.ndarray,
    classes: Sequence[str],
    photos: Sequence[Photo],
    names: Sequence[str],
) -> tuple[ClassRow, ...]:
    """The classes that changed most from one row to another: those beyond chance first, then by their change.

    Args:
        rows: the answers of every row, by its name.
        compared: names of the reference and of the file.
        labels: the true classes, (images,).
        classes: their names.
        photos: the images.
        names: how the data set names them.
    """
    reference, file = compared
    right = {name: row.best == labels for name, row in rows.items()}
    members = members_of(labels)
    changes = changes_of(right[file], right[reference], members)
    changed = difference(right[file], right[reference])
    moved = [c for c in members if changed[members[c]].any()]
    moved.sort(key=lambda c: (not changes[c].certain, -abs(changes[c].value), -len(members[c])))
    shown = moved[:CLASSES]
    each = max(FEWEST, min(MOST, PHOTOS // max(1, 2 * len(shown))))

    def examples(c: int, winner: str, loser: str) -> tuple[tuple[Example, ...], int]:
        inside = members[c]
        places = inside[right[winner][inside] & ~right[loser][inside]]
        surest = places[np.argsort(-rows[loser].confidence[places], kind="stable")]
        both = rows[reference], rows[file]
        return tuple(_example(i, *both, labels, classes, photos, names) for i in surest[:each]), len(places)

    return tuple(
        ClassRow(
            classes[c],
            len(members[c]),
            {name: float(hits[members[c]].mean()) for name, hits in right.items()},
            Interval(changes[c].value, changes[c].low, changes[c].high),
            changes[c].certain,
            *examples(c, reference, file),
            *examples(c, file, reference),
        )
        for c in shown
    )


def every_class(rows: Mapping[str, Answers], file: str, labels: np.ndarray, classes: Sequence[str]) -> EveryClass:
    """How often each row is right about each class, and what `file` takes it for.

    Args as of `class_rows`.
    """
    photos = np.bincount(labels, minlength=len(classes))
    seen = np.flatnonzero(photos).tolist()
    right = {
        name: np.bincount(labels[row.best == labels], minlength=len(classes))[seen].tolist()
        for name, row in rows.items()
    }
    best = rows[file].best
    wrong = np.stack([labels, best], 1)[best != labels]
    pairs, times = np.unique(wrong, axis=0, return_counts=True) if len(wrong) else (wrong, np.empty(0, np.int64))
    taken: dict[int, tuple[str, int]] = {}
    for place in np.argsort(-times, kind="stable").tolist():  # of equals, the first in the labels' order
        label, answer = pairs[place].tolist()
        taken.setdefault(label, (classes[answer], int(times[place])))
    most = [taken.get(label, ("", 0)) for label in seen]
    return EveryClass(
        names=tuple(classes[label] for label in seen),
        photos=tuple(photos[seen].tolist()),
        right={name: tuple(counts) for name, counts in right.items()},
        taken_for=tuple(name for name, _ in most),
        taken=tuple(count for _, count in most),
    )


def _example(
    i: int,
    reference: Answers,
    file: Answers,
    labels: np.ndarray,
    classes: Sequence[str],
    photos: Sequence[Photo],
    names: Sequence[str],
) -> Example:
    said = [(classes[each.best[i]], float(each.confidence[i])) for each in (reference, file)]
    return Example(names[i], classes[labels[i]], *said[0], *said[1], photo=photos[i].path, part=photos[i].part)
