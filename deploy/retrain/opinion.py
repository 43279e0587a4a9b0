"""What a model that did not train on the new photos says of their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from attar.benchmarks.predict import Model, open_model
from attar.data.images import use_rgb
from attar.data.photos import Photo, Photos, labels_of, load_pixels
from attar.deploy.retrain.candidates import Candidate, LeftOut, Reason
from attar.deploy.retrain.doubts import doubted, renamed
from attar.runfolder import RunFolder
from attar.sampling import spread

MOSTLY_WRONG = 0.5
"""Share of a contributor's labels from which on, if they are doubted, all of them are."""
FEW = 5
"""Photos below which a contributor is not judged."""
HELD = 2048
"""Validation photos that say how confident the model usually is, at most."""
_BATCH = 64

T = TypeVar("T")


@dataclass(frozen=True)
class Opinion:
    """What was found.

    Attributes:
        doubts: id -> why its label is doubted, for a reviewer.
        renamed: those whose new class is one that the model knows, photos of earlier rounds among them.
        right: of the new photos whose class the model knows, how many it answers as their label says.
        asked: how many those were.
        held_right: the same of validation photos.
        held_asked: how many those were.
    """

    doubts: Mapping[str, str]
    renamed: Sequence[LeftOut]
    right: int
    asked: int
    held_right: int
    held_asked: int


def opinion(
    run: RunFolder,
    photos: Photos,
    kept: Sequence[Candidate],
    earlier: Mapping[str, int] | None = None,
    used: Sequence[Candidate] = (),
) -> Opinion:
    """Ask the run's teacher, or its student where it has none.

    Args:
        run: whose model is asked.
        photos: the run's own; the validation photos among them say how confident the model usually is.
        kept: the new photos.
        earlier: contributor -> how many of their labels were doubted before and wait for a reviewer.
        used: what an earlier round learned from or held out. Photos that a reviewer has since given a new class are
            asked about, too: is it a class that the model knows under another name?
    """
    taught = (run.teacher / "bundle.json").is_file()
    model = open_model(run.teacher if taught else run.student)
    name = "teacher" if taught else "model"
    held = spread(photos.val, HELD)
    answers = np.concatenate([_answers(model, part) for part in _parts(held)])
    number = {label: i for i, label in enumerate(model.labels)}
    asked = [*kept, *of_unknown_classes(used, number)]
    shares = _of_candidates(model, asked)
    known = [i for i, each in enumerate(kept) if each.label in number]
    labels, truth = np.array([number[kept[i].label] for i in known], dtype=np.int64), labels_of(held)
    doubts = {}
    for found in doubted(labels, shares[known], truth, answers):
        each, instead = kept[known[found.index]], model.labels[found.instead]
        reason = f"the {name} says {instead} ({found.confidence:.0%}), and {found.given:.0%} that it is {each.label}"
        doubts[each.id] = reason
    doubts |= of_contributors(kept, doubts, earlier or {}, used)
    doubts = {each.id: doubts[each.id] for each in (*kept, *used) if each.id in doubts and not each.settled}
    right = shares[known].argmax(1) == labels if known else np.zeros(0, bool)
    return Opinion(
        doubts,
        _renamed(asked, shares, model),
        int(right.sum()),
        len(known),
        int((answers.argmax(1) == truth).sum()),
        len(held),
    )


def of_contributors(
    kept: Sequence[Candidate], doubts: Collection[str], earlier: Mapping[str, int], used: Sequence[Candidate] = ()
) -> dict[str, str]:
    """Doubts about all labels of those people most of whose labels are doubted: id -> why.

    Args:
        kept: the new photos.
        doubts: ids whose own label is doubted.
        earlier: contributor -> how many of their labels were doubted before and wait for a reviewer.
        used: what an earlier round learned from or held out. It counts in their favour, and is doubted too in the end,
            unless a reviewer decided on it.
    """
    sent, wrong = Counter(earlier), Counter(earlier)
    sent.update(each.contributor for each in (*kept, *used) if each.contributor)
    wrong.update(each.contributor for each in kept if each.contributor and each.id in doubts and not each.settled)
    bad = {who for who, count in wrong.items() if sent[who] >= FEW and count >= MOSTLY_WRONG * sent[who]}
    return {
        each.id: f"{wrong[each.contributor]} of {sent[each.contributor]} labels of {each.contributor} are doubted"
        for each in (*kept, *(each for each in used if not each.reviewed))
        if each.contributor in bad and each.id not in doubts
    }


def of_unknown_classes(used: Sequence[Candidate], labels: Collection[str]) -> list[Candidate]:
    """Those that an earlier round had and that a reviewer has since given a class that is none of `labels`."""
    return [each for each in used if each.label not in labels]


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _answers(model: Model, photos: Sequence[Photo]) -> np.ndarray:
    """Probabilities, float32 (photos, classes)."""
    return model.answer(load_pixels(photos, model.preprocessing))[:, : len(model.labels)]


def _of_candidates(model: Model, asked: Sequence[Candidate]) -> np.ndarray:
    """Probabilities, float32 (photos, classes)."""
    parts = [np.zeros((0, len(model.labels)), np.float32)]
    for part in _parts(asked):
        pixels = np.stack([use_rgb(model.preprocessing, each.path) for each in part])
        parts.append(model.answer(pixels)[:, : len(model.labels)])
    return np.concatenate(parts)


def _renamed(asked: Sequence[Candidate], shares: np.ndarray, model: Model) -> list[LeftOut]:
    new = [i for i, each in enumerate(asked) if each.label not in model.labels and not each.settled]
    if not new:
        return []
    found = renamed([asked[i].label for i in new], shares[new])
    return [
        LeftOut(asked[i].id, Reason.RENAMED, f"{asked[i].label}: {model.labels[found[asked[i].label]]}")
        for i in new
        if asked[i].label in found
    ]


def keeps_teacher(found: Opinion | None, same_labels: bool) -> tuple[bool, str]:
    """Whether the teacher is as good on the new photos as on its own, and a sentence that says so.

    It is fitted anew where there are new classes, or where it is right on fewer of the new photos than on its
    validation photos beyond chance (Fisher's exact test, one-sided, at 5%).
    """
    from scipy.stats import fisher_exact

    if found is None or not same_labels:
        return False, "The teacher is fitted anew: there are new classes."
    table = [[found.right, found.asked - found.right], [found.held_right, found.held_asked - found.held_right]]
    p = float(fisher_exact(table, alternative="less").pvalue)
    of = f"it is right on {found.right} of {found.asked} new photos, {found.held_right} of {found.held_asked} others"
    if p < 0.05:
        return False, f"The teacher is fitted anew: {of} (p = {p:.2g})."
    return True, f"The teacher is kept: {of}."
