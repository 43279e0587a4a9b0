"""Labels that are probably wrong: confident learning (Northcutt, Jiang and Chuang, arXiv 1911.00068), by cleanlab.

A label is doubted where a model that was not trained on the photo says another one, with the confidence that it usually
has about photos of that other class. How confident that is, class by class, is taken from validation photos together
with the new ones, since a class may have few new photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attar.extras import require

RENAMED = 0.8
"""Share of a new class's photos from which on, if the model takes them for one and the same class, it is that class
under another name."""


@dataclass(frozen=True)
class Found:
    """A label that is probably wrong.

    Attributes:
        index: of the photo.
        instead: number of the class that the model takes it for.
        confidence: the probability that it gives to that class.
        given: the probability that it gives to the label.
    """

    index: int
    instead: int
    confidence: float
    given: float


def doubted(labels: np.ndarray, probabilities: np.ndarray, held: np.ndarray, answers: np.ndarray) -> list[Found]:
    """The labels that are probably wrong, the worst first.

    Args:
        labels: class indices of the new photos, int64 (photos,).
        probabilities: a model's, float (photos, classes).
        held: class indices of validation photos, int64 (held,).
        answers: the model's probabilities for those, float (held, classes).

    Raises:
        MissingExtra: cleanlab is not installed.
    """
    require("cleanlab")
    from cleanlab.filter import find_label_issues

    if not len(labels):
        return []
    every, shares = np.concatenate([held, labels]), np.concatenate([answers, probabilities]).astype(np.float64)
    shares /= shares.sum(1, keepdims=True)
    wrong = find_label_issues(
        every,
        shares,
        filter_by="confident_learning",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
        verbose=False,
    )
    found = []
    for position in wrong:
        index = int(position) - len(held)
        if index >= 0:
            row = shares[position]
            instead = int(row.argmax())
            found.append(Found(index, instead, float(row[instead]), float(row[labels[index]])))
    return found


def renamed(names: Sequence[str], probabilities: np.ndarray) -> dict[str, int]:
    """New classes whose photos the model takes for one class that it knows -> that class's number.

    Args:
        names: the new class of each photo.
        probabilities: a model's, float (photos, classes).
    """
    answers, of = probabilities.argmax(1), np.array(names)
    found = {}
    for name in sorted(set(names)):
        counts = np.bincount(answers[of == name], minlength=probabilities.shape[1])
        # Two of a genus look alike to a model that knows one of them: it must be sure, too.
        sure = np.median(probabilities[of == name].max(1))
        if counts.max() >= RENAMED * counts.sum() and sure >= RENAMED:
            found[name] = int(counts.argmax())
    return found
