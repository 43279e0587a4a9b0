"""When a series of latencies changes its level: the end of warm-up, a machine that throttles.

A fixed number of warm-up runs is too few for one runtime and wasted on another (Barrett et al., arXiv 1602.00602, who
look for change-points). Here warm-up lasts until the latest inferences show no change of level any more.

A change is Pettitt's (Applied Statistics 28, 1979), a test of ranks that single slow inferences do not disturb: the
place where what comes before differs most from what comes after. It counts when it is both beyond chance and large
enough to matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

MATTERS = 0.03
"""A change of level below this share is let pass."""
CHANCE = 0.001
"""Largest probability that a series without a change shows one; small, for latencies resemble their neighbours."""
STABLE = 30
"""Inferences without a change of level that end the warm-up."""


@dataclass(frozen=True)
class Change:
    """A change of level.

    Attributes:
        at: number of the first sample behind it.
        ratio: median behind it over median before it.
    """

    at: int
    ratio: float


def change_in(series: Sequence[float] | np.ndarray, matters: float = MATTERS, chance: float = CHANCE) -> Change | None:
    """The largest change of level in a series of positive numbers (N,); None where there is none that counts."""
    values = np.asarray(series, dtype=np.float64)
    count = len(values)
    if count < 8:
        return None
    gap = np.abs(np.cumsum(2 * rankdata(values) - count - 1))[:-1]
    before = np.arange(1, count)
    at = int((gap / np.sqrt(before * (count - before))).argmax()) + 1  # standardized, or the middle is preferred
    probability = 2 * np.exp(-6 * float(gap.max()) ** 2 / (count**3 + count**2))
    ratio = float(np.median(values[at:]) / np.median(values[:at]))
    return Change(at, ratio) if probability < chance and abs(np.log(ratio)) > np.log1p(matters) else None


def settled(series: Sequence[float] | np.ndarray, matters: float = MATTERS) -> int:
    """Number of the first sample behind the last change of level, found by looking behind each one found."""
    values, start = np.asarray(series, dtype=np.float64), 0
    while change := change_in(values[start:], matters):
        start += change.at
    return start


@dataclass(frozen=True)
class WarmUp:
    """How many inferences it took, and whether they had settled when time was up."""

    runs: int
    settled: bool


def warm_up(
    infer: Callable[[], None], *, least: float = 0.3, most: float = 5.0, clock: Callable[[], int] = time.perf_counter_ns
) -> WarmUp:
    """Infer until the level no longer changes.

    Args:
        infer: one inference.
        least, most: seconds that warm-up lasts at least and, settled or not, at most; one inference may be longer.
        clock: nanoseconds.
    """
    taken: list[int] = []
    begin = clock()
    looked = 0
    while True:
        start = clock()
        infer()
        end = clock()
        taken.append(end - start)
        if end - begin >= most * 1e9:
            return WarmUp(len(taken), len(taken) - settled(taken) >= STABLE)
        # Looking at the series takes time itself: not after every inference.
        if end - begin >= least * 1e9 and len(taken) >= max(STABLE, 1.2 * looked):
            looked = len(taken)
            if looked - settled(taken) >= STABLE:
                return WarmUp(looked, True)
