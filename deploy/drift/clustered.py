"""Statistics of observations that come in clusters: what one contributor sends is alike.

The unit is a visit: what one contributor sent in one week. Tests permute which visits are the current ones, so that a
contributor who sends a lot, or always the same plant, is one unit and not hundreds. Intervals take the spread between
contributors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Counts of the current and of the reference visits, (N, bins) each -> how different they are, (N,)."""

ENOUGH = 10
"""A permutation test ends when so many relabellings are at least as different (Besag and Clifford, Biometrika 78,
1991)."""
_CHUNK = 256


def chi_square(current: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Pearson's statistic of 2 x bins tables. Bins are classes in any order."""
    both = current + reference
    share = current.sum(1, keepdims=True) / both.sum(1, keepdims=True)
    expected = np.maximum(both * share, 1e-300), np.maximum(both * (1 - share), 1e-300)
    parts = (current - expected[0]) ** 2 / expected[0] + (reference - expected[1]) ** 2 / expected[1]
    return np.where(both > 0, parts, 0.0).sum(1)


def largest_gap(current: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Kolmogorov and Smirnov's distance of two distributions. Bins are of rising values."""
    own, other = current.sum(1, keepdims=True), reference.sum(1, keepdims=True)
    return np.abs(current.cumsum(1) / own - reference.cumsum(1) / other).max(1)


def scaled_gap(current: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same times the root of the effective number: relabellings have more or fewer observations."""
    own, other = current.sum(1), reference.sum(1)
    return largest_gap(current, reference) * np.sqrt(own * other / (own + other))


def stability_index(current: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Population stability index (Siddiqi, Credit Risk Scorecards, 2006), rows of (N, bins) -> (N,).

    Half an observation is added to each bin that either side has, so that an empty one is no infinity.
    """
    seen = (current + reference) > 0
    own, other = (np.where(seen, counts + 0.5, 0.0) for counts in (current, reference))
    own, other = own / own.sum(1, keepdims=True), other / other.sum(1, keepdims=True)
    ratio = np.log(np.where(seen, own, 1.0) / np.where(seen, other, 1.0))
    return np.asarray(((own - other) * ratio).sum(1))


@dataclass(frozen=True)
class Units:
    """What a permutation test relabels.

    A contributor with visits of both kinds is a group of its own, whose visits are relabelled among themselves. The
    others, together, are one group in which whole contributors are relabelled.

    Attributes:
        counts: observations by bin, float (units, bins).
        group: int (units,), rising.
        current: whether the unit is of the current visits, bool (units,).
    """

    counts: np.ndarray
    group: np.ndarray
    current: np.ndarray

    @property
    def arrangements(self) -> float:
        """In how many ways the units can be relabelled; no p-value is below one divided by this."""
        _, sizes = np.unique(self.group, return_counts=True)
        chosen = np.bincount(self.group, self.current)[np.unique(self.group)].astype(int)
        logs = sum(math.log(math.comb(int(size), int(own))) for size, own in zip(sizes, chosen))
        return math.exp(min(logs, 700.0))

    def sums(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts of the current and the reference units under labels (N, units) -> (N, bins) each."""
        current = labels.astype(np.float64) @ self.counts
        return current, self.counts.sum(0) - current

    def relabelled(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """Random labels, bool (number, units): each group keeps how many of its units are current."""
        order = np.argsort(self.group + rng.random((number, len(self.group))), axis=1)
        labels = np.empty((number, len(self.group)), bool)
        np.put_along_axis(labels, order, np.broadcast_to(self.current, labels.shape), axis=1)
        return labels


def units_of(bins: np.ndarray, contributor: np.ndarray, week: np.ndarray, current: np.ndarray) -> Units:
    """Units of observations.

    Args:
        bins: of each observation, int (observations,), from 0.
        contributor: numbers, int (observations,).
        week: numbers, int (observations,).
        current: whether it is of the current week, bool (observations,); the others are of the reference.
    """
    people = int(contributor.max()) + 1
    is_mixed = (np.bincount(contributor, current, people) > 0) & (np.bincount(contributor, ~current, people) > 0)
    # Contributors of one kind only: one group, 0, and a unit per contributor. The others: a unit per visit.
    mixed = is_mixed[contributor]
    group = np.where(mixed, contributor + 1, 0)
    within = np.where(mixed, week, contributor)
    keys, unit = np.unique(np.stack([group, within]), axis=1, return_inverse=True)
    unit = unit.reshape(-1)
    counts = np.zeros((keys.shape[1], int(bins.max()) + 1))
    np.add.at(counts, (unit, bins), 1)
    labels = np.zeros(keys.shape[1], bool)
    labels[unit] = current
    return Units(counts, keys[0], labels)


@dataclass(frozen=True)
class Permuted:
    """What a permutation test found.

    Attributes:
        p: how often a relabelling is at least as different; never zero.
        by_chance: what 95% of relabellings stay below in the effect.
    """

    p: float
    by_chance: float


def permutation_test(
    units: Units, statistic: Statistic, effect: Statistic, most: int, rng: np.random.Generator
) -> Permuted:
    """Whether current visits differ from the reference beyond what relabelling them does.

    Args:
        units: what is relabelled.
        statistic: how different they are, for the p-value.
        effect: what is said of the difference; a relabelling's 95% quantile is returned.
        most: relabellings at most; fewer if it is clear early that nothing differs.
        rng: random numbers.
    """
    seen = statistic(*units.sums(units.current[None]))[0]
    as_different, tried, effects = 0, 0, []
    while tried < most:
        number = min(_CHUNK, most - tried)
        sums = units.sums(units.relabelled(rng, number))
        effects.append(effect(*sums))
        reached = statistic(*sums) >= seen - 1e-9 * max(1.0, abs(seen))
        if as_different + reached.sum() >= ENOUGH:
            tried += int(np.flatnonzero(reached)[ENOUGH - as_different - 1]) + 1
            return Permuted(ENOUGH / tried, float(np.quantile(np.concatenate(effects), 0.95)))
        as_different, tried = as_different + int(reached.sum()), tried + number
    return Permuted((as_different + 1) / (tried + 1), float(np.quantile(np.concatenate(effects), 0.95)))


def able_to_reject(least: np.ndarray, level: float) -> np.ndarray:
    """Which of many tests can find anything at all -> bool (N,) (Tarone, Biometrics 46, 1990).

    Args:
        least: the smallest p-value that each can give, (N,).
        level: of all of them together.
    """
    for number in range(1, len(least) + 1):
        found = least <= level / number
        if found.sum() <= number:
            return np.asarray(found)
    return np.zeros(len(least), bool)


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval; None where one contributor alone says nothing of others."""

    value: float
    low: float | None
    high: float | None


def share_of(hits: np.ndarray, contributor: np.ndarray, level: float = 0.95) -> Share:
    """Wilson's interval of a share, with as many observations as they are worth (Korn and Graubard, 1998).

    Args:
        hits: of each observation, bool (observations,), at least one.
        contributor: numbers, int (observations,).
        level: how often the interval is to hold the truth.
    """
    from scipy.stats import t

    _, own = np.unique(contributor, return_inverse=True)
    totals, found = np.bincount(own), np.bincount(own, hits)
    share, number, people = float(hits.mean()), len(hits), len(totals)
    if people < 2:
        return Share(share, None, None)
    if 0 < share < 1:
        variance = people / (people - 1) * ((found - share * totals) ** 2).sum() / number**2
        worth = share * (1 - share) / variance if variance else float(number)
    else:  # nothing is seen of the spread: what a contributor sent counts as one, the larger ones more (Kish, 1965)
        worth = number**2 / (totals**2).sum()
    worth, reach = min(worth, float(number)), float(t.ppf((1 + level) / 2, people - 1))
    middle = (share + reach**2 / (2 * worth)) / (1 + reach**2 / worth)
    half = reach / (1 + reach**2 / worth) * math.sqrt(share * (1 - share) / worth + reach**2 / (4 * worth**2))
    low, high = float(middle - half), float(middle + half)
    return Share(share, max(0.0, low) if share > 0 else 0.0, min(1.0, high) if share < 1 else 1.0)


@dataclass(frozen=True)
class Difference:
    """A mean of the current observations minus that of the reference, with its 95% interval if there can be one."""

    value: float
    low: float | None
    high: float | None


def difference_of(values: np.ndarray, contributor: np.ndarray, current: np.ndarray, level: float = 0.95) -> Difference:
    """How much a mean moved; the spread is that between contributors (linearized).

    Args:
        values: float (observations,).
        contributor: numbers, int (observations,).
        current: bool (observations,); some are, and some are not.
        level: how often the interval is to hold the truth.
    """
    from scipy.stats import t

    _, own = np.unique(contributor, return_inverse=True)
    people = int(own.max()) + 1
    influence = np.zeros(people)
    means = []
    for sign, chosen in ((1, current), (-1, ~current)):
        mean = float(values[chosen].mean())
        influence += sign * np.bincount(own[chosen], values[chosen] - mean, people) / chosen.sum()
        means.append(mean)
    fewest = min(len(np.unique(own[current])), len(np.unique(own[~current])))
    if fewest < 2:
        return Difference(means[0] - means[1], None, None)
    reach = float(t.ppf((1 + level) / 2, fewest - 1)) * math.sqrt(people / (people - 1) * (influence**2).sum())
    value = means[0] - means[1]
    return Difference(value, value - reach, value + reach)
