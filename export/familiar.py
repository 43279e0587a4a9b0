"""What an app may say of a photo's familiarity: "not one of mine". Fitted on the very file that it is for, and proven.

A photo is refused below a threshold that few of the validation photos stay below (split conformal prediction, as in
`attar.export.decision`). A file keeps its student's familiarity if it ranks photos as the student does, and tells
validation photos from drawn pictures (`attar.data.strange`) as well as the student.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import betabinom, spearmanr

from attar.errors import GateError
from attar.export.decision import LUCK
from attar.metrics import auroc

REFUSED = 0.05
"""Share of the validation photos that are refused."""

LOST = 0.01
"""Share of pairs of a validation photo and a drawn picture that a file may rank worse than its student (AUROC)."""

ALIKE = 0.8
"""Least rank correlation of a file's familiarity with its student's, over validation photos and drawn pictures."""

APART = 0.2
"""How far two evaluators of one file may be from one another on average."""

PICTURES = 16
"""Of each kind that is drawn."""


def fit(own: np.ndarray, strange: np.ndarray) -> dict[str, Any]:
    """The threshold, as plain data.

    Args:
        own: a file's familiarity of validation photos, float (N,).
        strange: the same of drawn pictures.

    Returns:
        `threshold`: a photo is refused below it; `refused`: how many validation photos that is to be; `strange`: how
        many drawn pictures it was; `images`: N. Of too few photos `threshold` is null, and `reason` says so.
    """
    place = int(np.floor((len(own) + 1) * REFUSED)) - 1
    about = {"refused": REFUSED, "images": len(own)}
    if place < 0:
        fewest = round(1 / REFUSED) - 1
        reason = f"{len(own)} photos cannot show which {100 * REFUSED:g}% are least familiar; {fewest} can"
        return {**about, "threshold": None, "reason": reason}
    threshold = float(np.sort(own)[place])
    return {**about, "threshold": threshold, "strange": float((strange < threshold).mean())}


def measure(
    own: np.ndarray, strange: np.ndarray, of_student: np.ndarray, strange_of_student: np.ndarray
) -> dict[str, float]:
    """How a file's familiarity differs from its student's, as plain data.

    Raises:
        GateError: it tells drawn pictures worse, or is another familiarity.
    """
    both, expected = np.r_[own, strange], np.r_[of_student, strange_of_student]
    if not np.isfinite(both).all() or both.min() < 0 or both.max() > 1:
        raise GateError("its familiarity has values that are not in [0, 1]")
    here, there = auroc(own, strange), auroc(of_student, strange_of_student)
    rank = spearmanr(both, expected).statistic if np.ptp(both) > 0 else 0.0
    if rank < ALIKE:
        raise GateError(f"its familiarity is another than its student's: rank correlation {rank:.2f} (limit {ALIKE})")
    if here < there - LOST:
        raise GateError(
            f"its familiarity tells validation photos from drawn pictures worse than its student's: AUROC "
            f"{100 * here:.1f}, not {100 * there:.1f} (limit: {100 * LOST:g} point)"
        )
    return {"auroc": here, "student_auroc": there, "rank_correlation": float(rank)}


def prove(promise: dict[str, Any], own: np.ndarray) -> None:
    """Hold a file's familiarity of photos, float (N,), against what was promised of it.

    Raises:
        GateError: more photos are refused than by chance.
    """
    if promise["threshold"] is None:
        return
    refused, count = int((own < promise["threshold"]).sum()), promise["images"]
    share = promise["refused"]
    if betabinom.sf(refused - 1, len(own), share * (count + 1), (1 - share) * (count + 1)) < LUCK:
        raise GateError(
            f"it does not keep its promises (manifest.json, decision): {refused} of {len(own)} photos are refused as "
            f"unfamiliar, not {100 * share:g}%"
        )
