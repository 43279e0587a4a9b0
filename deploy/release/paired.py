"""Two models on the same photos, where one may be a little worse: Tango's score test and interval.

Statistics in Medicine 17 (1998), pages 891 to 908. Normal intervals of paired shares hold the truth too rarely at the
levels of one look, where few photos differ; this one keeps its level there.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm


def statistic(won: int, lost: int, images: int, gain: float) -> float:
    """How many standard errors the gain is above one that is supposed, in (-1, 1).

    Args:
        won, lost: photos that only the challenger, and only the champion, has right.
        images: all photos.
        gain: supposed top-1 of the challenger minus the champion's.
    """
    # The likeliest share of lost photos if the gain is what is supposed: the larger root of Tango's equation.
    half = (-won - lost + (2 * images - won + lost) * gain) / (4 * images)
    share = float(np.sqrt(max(0.0, half**2 + lost * gain * (1 - gain) / (2 * images))) - half)
    variance = images * (2 * share + gain * (1 - gain))
    difference = won - lost - images * gain
    if variance <= 0:
        return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    return float(difference / np.sqrt(variance))


def not_worse(won: int, lost: int, images: int, margin: float) -> float:
    """One-sided p-value that it only seems to lose less than a margin, a share in (0, 1)."""
    return float(norm.sf(statistic(won, lost, images, -margin)))


def interval(won: int, lost: int, images: int, confidence: float) -> tuple[float, float]:
    """The gains that the test does not refuse: an interval in [-1, 1]."""
    reach = float(norm.ppf((1 + confidence) / 2))
    middle, edge = (won - lost) / images, 1 - 1e-9

    def beyond(side: int, gain: float) -> float:
        return statistic(won, lost, images, gain) - side * reach

    low = brentq(lambda gain: beyond(1, gain), -edge, middle) if beyond(1, -edge) > 0 > beyond(1, middle) else -1.0
    high = brentq(lambda gain: beyond(-1, gain), middle, edge) if beyond(-1, middle) > 0 > beyond(-1, edge) else 1.0
    return float(low), float(high)
