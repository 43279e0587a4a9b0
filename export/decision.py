"""What an app may say of an answer: sure of it, or one of a few. Fitted on the answers of the very file that it is for.

Two thresholds. An answer is **sure** from a confidence on at which answers are right as often as was asked for: the
largest share of the photos whose share of right answers is that, by the lower end of its exact interval (Clopper and
Pearson, Biometrika 26, 1934; the problem is selective prediction, arXiv 2305.15508). And the **set** of labels that
holds the right one as often as was asked for, by split conformal prediction: a label is in it if its probability,
divided by how common the label is, reaches a threshold (arXiv 2507.06867, section 3, where common labels would crowd
out rare ones otherwise). The most probable label is always in it. With a hierarchy of labels, each level of groups
has a threshold like that of sure answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta, betabinom

from attar.errors import GateError, InputError
from attar.hierarchy import summed

PRECISION = 0.95
"""Share of sure answers that are right."""

COVERAGE = 0.9
"""Share of photos whose set holds their label."""

CONFIDENCE = 0.95
"""How often the promise of precision is to hold, over sets of validation photos."""

LUCK = 0.001
"""How often a file that keeps its promises may fail to on other photos."""

UNEVEN = 2.0
"""From this on, times the smallest class's photos, the largest class's make a long tail."""


def decide(
    probabilities: np.ndarray,
    labels: np.ndarray,
    common: np.ndarray | None = None,
    precision: float = PRECISION,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """Fit the thresholds, as plain data.

    Args:
        probabilities: a file's answers on photos that it was not trained on, float (images, classes).
        labels: what those show, int (images,).
        common: share of each class among the photos that apps see, float (classes,); None: all alike.
        precision: of sure answers, in (0, 1).
        groups: of each level of a hierarchy, the number of each label's group, int (levels, classes).

    Returns:
        `sure`: {"precision", "threshold", "share"}: answers of at least that confidence, and how many of the photos
        have one. Where no threshold keeps the promise, `threshold` is null and `reason` says why. `groups`: the same of
        each level. `set`: {"coverage", "threshold", "size"}: labels whose weighed probability is at least that, and
        their mean number. `images`.
    """
    return {
        "images": len(labels),
        "sure": _sure(probabilities, labels, precision),
        "groups": [_sure(summed(probabilities, of), of[labels], precision) for of in _levels(groups)],
        "set": {"coverage": COVERAGE, **_set(probabilities, labels, common)},
    }


def _levels(groups: np.ndarray | None) -> Sequence[np.ndarray]:
    return () if groups is None else list(groups)


def fewest(precision: float) -> int:
    """Photos that a threshold for a precision needs, if all their answers are right."""
    return int(np.ceil(np.log(1 - CONFIDENCE) / np.log(precision)))


def _sure(probabilities: np.ndarray, labels: np.ndarray, precision: float) -> dict[str, Any]:
    confidence = probabilities.max(1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(1) == labels)[order].cumsum()
    count = np.arange(1, len(labels) + 1)
    lower = np.where(right > 0, beta.ppf(1 - CONFIDENCE, np.maximum(right, 1), count - right + 1), 0.0)
    # Between equals there is no threshold.
    ends = np.append(confidence[order][:-1] > confidence[order][1:], True)
    kept = np.flatnonzero((lower >= precision) & ends)
    if len(kept):
        last = kept[-1]
        found = {"threshold": float(confidence[order][last]), "share": float(count[last] / len(labels))}
        return {"precision": precision, **found}
    if len(labels) < (needed := fewest(precision)):
        reason = f"{len(labels)} photos cannot show {100 * precision:g}% precision; {needed} can, if all are right"
    else:
        reason = f"no confidence is right {100 * precision:g}% of the time for certain"
    return {"precision": precision, "threshold": None, "share": 0.0, "reason": reason}


def weighed(probabilities: np.ndarray, common: np.ndarray | None) -> np.ndarray:
    """Probabilities divided by how common each class is, against a class of mean frequency."""
    return probabilities if common is None else probabilities / (common * len(common))


def commonness(counts: np.ndarray) -> np.ndarray | None:
    """Share of each class, from the number of its photos, int (classes,); None where they are nearly as many."""
    counts = counts + 1.0  # a class without a photo is rare, not impossible
    return counts / counts.sum() if counts.max() > UNEVEN * counts.min() else None


def _set(probabilities: np.ndarray, labels: np.ndarray, common: np.ndarray | None) -> dict[str, Any]:
    """Split conformal prediction: the threshold that the labels of all but (1 - coverage) of (n + 1) photos reach."""
    own = np.sort(weighed(probabilities, common)[np.arange(len(labels)), labels])
    place = int(np.floor((len(labels) + 1) * (1 - COVERAGE))) - 1
    threshold = float(own[place]) if place >= 0 else 0.0
    return {"threshold": threshold, "size": float(members(probabilities, common, threshold).sum(1).mean())}


def members(probabilities: np.ndarray, common: np.ndarray | None, threshold: float) -> np.ndarray:
    """Which labels are in each photo's set, bool (images, classes)."""
    inside: np.ndarray = weighed(probabilities, common) >= threshold
    inside[np.arange(len(probabilities)), probabilities.argmax(1)] = True
    return inside


@dataclass(frozen=True)
class Outcomes:
    """What promises are held against: a few values per photo, however many classes there are.

    Attributes:
        sure: whether the answer is sure, and the group of each level, bool (1 + levels, images).
        right: whether it is right, bool (1 + levels, images).
        held: whether the photo's set holds its label, bool (images,).
    """

    sure: np.ndarray
    right: np.ndarray
    held: np.ndarray

    @staticmethod
    def joined(parts: Sequence[Outcomes]) -> Outcomes:
        """Those of several batches of photos."""
        arrays = ([each.sure for each in parts], [each.right for each in parts], [each.held for each in parts])
        return Outcomes(*(np.concatenate(each, axis=-1) for each in arrays))


def outcomes(
    decision: dict[str, Any],
    probabilities: np.ndarray,
    labels: np.ndarray,
    common: np.ndarray | None,
    groups: np.ndarray | None = None,
) -> Outcomes:
    """What a file's answers, float (images, classes), come to by its decision; the arguments are those of `decide`."""
    shares = [(probabilities, labels), *((summed(probabilities, of), of[labels]) for of in _levels(groups))]
    thresholds = [each["threshold"] for each in (decision["sure"], *decision["groups"])]
    least = [np.inf if each is None else each for each in thresholds]
    return Outcomes(
        np.array([share.max(1) >= threshold for (share, _), threshold in zip(shares, least)]),
        np.array([share.argmax(1) == shown for share, shown in shares]),
        members(probabilities, common, decision["set"]["threshold"])[np.arange(len(labels)), labels],
    )


def prove(decision: dict[str, Any], found: Outcomes) -> None:
    """Hold what a file's answers came to against what was promised of them.

    Raises:
        GateError: a promise is broken, on more photos than by chance.
    """
    wanted, problems = decision["set"], []
    for promised, sure, right in zip([decision["sure"], *decision["groups"]], found.sure, found.right):
        said = right[sure]
        if promised["threshold"] is not None and _broken(said, promised["precision"], _sure_ones(promised, decision)):
            share = f"{100 * promised['precision']:g}%"
            problems.append(f"{said.sum()} of {len(said)} sure answers are right, not {share}")
    if _broken(found.held, wanted["coverage"], decision["images"]):
        problems.append(
            f"its sets hold the label of {found.held.sum()} of {len(found.held)} photos, not "
            f"{100 * wanted['coverage']:g}%"
        )
    if problems:
        raise GateError("it does not keep its promises (manifest.json, decision): " + "; ".join(problems))


def _sure_ones(promised: dict[str, Any], decision: dict[str, Any]) -> float:
    """How many photos the promise was made of."""
    return float(promised["share"] * decision["images"])


def _broken(kept: np.ndarray, share: float, images: float) -> bool:
    """Whether fewer were kept, bool (photos,), than by chance, of a share that so many images promised.

    Those were drawn by chance too: beta-binomial, as of the coverage of conformal sets (arXiv 2107.07511, section 3.2).
    """
    return bool(betabinom.cdf(kept.sum(), len(kept), share * (images + 1), (1 - share) * (images + 1)) < LUCK)


def check_precision(precision: float) -> None:
    """Refuse what is no precision."""
    if not 0.5 <= precision < 1:
        raise InputError(
            f"precision {precision:g}: a share of right answers from 0.5 to below 1, such as {PRECISION:g}."
        )
