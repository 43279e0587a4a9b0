"""How far a measured latency can be trusted: intervals of percentiles, and of ratios of two files.

Samples come in rounds: in each, every file has one turn of a few inferences. Samples of one turn resemble each other,
and turns resemble their neighbours, because a machine that is slow now is slow a moment later. Taken for independent,
they would promise too much. How well a percentile is known depends on the share of samples below it, and that share
is a mean: its variance over rounds, with what neighbours have in common, says how many independent samples the run is
worth. The interval is that of a binomial share of so many samples, read off the sorted samples (Woodruff, JASA 47,
1952; exact limits of Clopper and Pearson 1934). It assumes no distribution, and where the samples are too few, it has
no upper end: 100 samples cannot bound a 99th percentile.

Two files of one run are compared round by round, where both met the same machine: what slows all files down cancels.
How often the intervals hold the truth is measured by `python -m attar.benchmarks.studies.coverage`, on series whose
truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta, norm, t

LEVEL = 0.95
RESAMPLES = 2_000
FEWEST_ROUNDS = 4
"""With fewer rounds there is no interval: nothing can be learned of how they vary."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval, in the unit of what was measured; infinity is an end that is not known."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """As plain data; an end that is not known is None."""
        return {"value": self.value, "low": self.low, "high": self.high if np.isfinite(self.high) else None}


def in_rounds(samples: Any, block: int) -> np.ndarray:
    """Samples in the order measured, `block` of them a round -> float64 (rounds, block), without an incomplete one."""
    values = np.asarray(samples, dtype=np.float64)
    return values[: len(values) // block * block].reshape(-1, block)


def percentile_estimates(rounds: np.ndarray, percents: tuple[float, ...] = (50, 90, 99)) -> list[Estimate]:
    """Percentiles of all samples of a file.

    Args:
        rounds: (rounds, samples of a round), positive.
        percents: in [0, 100].

    Returns:
        One estimate a percentile; with fewer than `FEWEST_ROUNDS` rounds the interval is (0, infinity).
    """
    return [_quantile(rounds, percent / 100, _correlation(_level(rounds))) for percent in percents]


def ratio_estimate(rounds: np.ndarray, reference: np.ndarray) -> Estimate:
    """How many times as long a file takes as the reference did in the same rounds.

    The median over rounds of the ratio of the two medians of a round.

    Args:
        rounds, reference: (rounds, samples of a round) of the two files, of the same run.
    """
    logs = _level(rounds) - _level(reference)
    return _quantile(np.exp(logs)[:, None], 0.5, _correlation(logs))


def percentile_ratio(rounds: np.ndarray, reference: np.ndarray, percent: float) -> Estimate:
    """The ratio of one percentile of all samples of two files of the same run.

    By a bootstrap that draws the rounds of both files together, in runs of neighbours as long as rounds depend on each
    other: the circular block bootstrap (Politis and Romano 1992), with Carlstein's length (Ann. Statist. 14, 1986).
    """
    value = float(np.percentile(rounds, percent) / np.percentile(reference, percent))
    if len(rounds) < FEWEST_ROUNDS:
        return Estimate(value, 0.0, float("inf"))
    chosen = resampled(len(rounds), max(dependence(_level(rounds)), dependence(_level(reference))))
    parts = [np.percentile(each[chosen].reshape(len(chosen), -1), percent, axis=1) for each in (rounds, reference)]
    return _estimate(value, parts[0] / parts[1])


def dependence(series: np.ndarray) -> int:
    """How many neighbours are drawn together, from the series' first autocorrelation; 1 where there is none."""
    correlation = _correlation(series)
    length = (6**0.5 * correlation / (1 - correlation**2)) ** (2 / 3) * len(series) ** (1 / 3)
    return int(np.clip(np.ceil(length), 1, max(1, len(series) // 3)))


def resampled(count: int, block: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Numbers of `count` rounds drawn in circular blocks of neighbours -> int (resamples, count)."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, count, (resamples, -(-count // block)))
    return ((starts[:, :, None] + np.arange(block)) % count).reshape(resamples, -1)[:, :count]


def _quantile(rounds: np.ndarray, share: float, correlation: float) -> Estimate:
    """The value that a share of all samples is below, with its interval."""
    values = np.sort(rounds.ravel())
    value = float(np.quantile(values, share))
    if len(rounds) < FEWEST_ROUNDS:
        return Estimate(value, 0.0, float("inf"))
    worth = _worth(rounds, value, share, correlation)
    tail = (1 - LEVEL) / 2
    below = beta.ppf(tail, worth * share, worth * (1 - share) + 1)
    above = beta.ppf(1 - tail, worth * share + 1, worth * (1 - share))
    low = float(np.quantile(values, below)) if (1 - share) ** worth < tail else 0.0
    high = float(np.quantile(values, above)) if share**worth < tail else float("inf")
    return Estimate(value, min(low, value), max(high, value))


def _worth(rounds: np.ndarray, value: float, share: float, correlation: float) -> float:
    """How many independent samples tell as much as these of the share below `value`."""
    count, each = rounds.shape
    shares = (rounds <= value * (1 + 1e-12)).mean(axis=1)
    # Of a first-order autoregression's mean; where rounds differ less than independent samples would, that is luck.
    alone = max(float(shares.var(ddof=1)), share * (1 - share) / each) / count
    spread = alone * (1 + correlation) / (1 - correlation)
    few = float(norm.ppf((1 + LEVEL) / 2) / t.ppf((1 + LEVEL) / 2, count - 1)) ** 2  # the spread itself is estimated
    return max(1.0, share * (1 - share) / spread * few)


def _correlation(series: np.ndarray) -> float:
    """First autocorrelation of logarithms in [0, 0.95], without the bias of a mean that is itself estimated.

    Kendall, Biometrika 41, 1954.
    """
    centred, count = series - series.mean(), len(series)
    power = float(centred @ centred)
    if count < 8 or power < 1e-20 * count:  # a spread that is rounding
        return 0.0
    correlation = float(centred[1:] @ centred[:-1]) / power
    return float(np.clip((count * correlation + 1) / (count - 4), 0.0, 0.95))


def _level(rounds: np.ndarray) -> np.ndarray:
    """Logarithm of each round's median, (rounds,)."""
    return np.log(np.median(rounds, axis=1))


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(min(low, value)), float(max(high, value)))
