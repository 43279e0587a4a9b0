"""Whether a version's answers changed since its first weeks, beyond chance and beyond who happened to send.

Each quantity of each week is one test: the week's visits against those of the reference weeks
(`attar.deploy.drift.clustered`). All tests of a report are corrected together (Holm), at one level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attar.data.observations import Observation
from attar.deploy.drift.clustered import (
    Difference,
    Statistic,
    Units,
    able_to_reject,
    chi_square,
    difference_of,
    largest_gap,
    permutation_test,
    scaled_gap,
    stability_index,
    units_of,
)
from attar.deploy.drift.weeks import people_of, week_of
from attar.metrics import holm

LEVEL = 0.05
"""How often a report finds drift where there is none, all its tests together."""
NAMED = 5
"""Classes that moved most, of which the difference is told."""
_CLASSES = 50
"""Classes that are told apart in a test; rarer ones count as one."""
_GRID = 256
"""Values at which two distributions are held against each other, where there are more."""
_LEAST, _MOST = 2_000, 50_000
"""Relabellings of a test."""

KINDS: Mapping[str, Callable[[Observation], str | None]] = {
    "classes": lambda each: each.predicted,
    "backends": lambda each: each.backend,
    "verdicts": lambda each: str(each.verdict),
}
"""What is a name. The effect is the population stability index."""
QUANTITIES: Mapping[str, Callable[[Observation], float | None]] = {
    "confidence": lambda each: each.probability,
    "familiarity": lambda each: each.familiarity,
    "brightness": lambda each: each.brightness,
    "sharpness": lambda each: each.sharpness,
    "latency": lambda each: each.latency_ms,
}
"""What is a number. The effect is Kolmogorov and Smirnov's distance."""


@dataclass(frozen=True)
class Moved:
    """A class, backend or verdict whose share moved, or the mean of a quantity that did."""

    name: str
    reference: float
    current: float
    difference: Difference


@dataclass(frozen=True)
class DriftTest:
    """One quantity of one week against the reference.

    Attributes:
        model: SHA-256 of the version's file.
        week: which.
        quantity: a name of `KINDS` or `QUANTITIES`.
        observations, contributors: of this week, and of the reference.
        effect: population stability index, or Kolmogorov and Smirnov's distance.
        by_chance: what 95% of relabellings stay below; None if there are too few contributors to test.
        p: corrected for all tests of the report; None likewise.
        moved: what moved most, the mean of a quantity, with intervals.
    """

    model: str
    week: str
    quantity: str
    observations: tuple[int, int]
    contributors: tuple[int, int]
    effect: float
    by_chance: float | None
    p: float | None
    moved: tuple[Moved, ...]

    @property
    def is_drift(self) -> bool:
        """Beyond chance."""
        return self.p is not None and self.p <= LEVEL


@dataclass(frozen=True)
class Sides:
    """The observations of one week and of its reference.

    Attributes:
        model: SHA-256 of the version's file.
        week: the current week.
        current, reference: of both.
    """

    model: str
    week: str
    current: tuple[Observation, ...]
    reference: tuple[Observation, ...]


def compare(sides: Sequence[Sides], seed: int = 0) -> tuple[DriftTest, ...]:
    """DriftTest every quantity of every week.

    Args:
        sides: weeks with their references; an empty side is not tested.
        seed: of the relabellings, so that a report of the same observations is the same.
    """
    columns = [
        column
        for each in sides
        for names in (KINDS, QUANTITIES)
        for name in names
        if (column := _column(each, name)) is not None
    ]
    least = np.array([max(1 / column.units.arrangements, 1 / (_MOST + 1)) for column in columns])
    able = able_to_reject(least, LEVEL)
    most = int(np.clip(4 * able.sum() / LEVEL, _LEAST, _MOST))
    results = [
        column.test(most, np.random.default_rng([seed, number])) if able[number] else None
        for number, column in enumerate(columns)
    ]
    p = np.full(len(columns), np.nan)
    p[able] = holm(np.array([found[0] for found in results if found]))
    return tuple(
        column.told(None if found is None else (float(corrected), found[1]))
        for column, found, corrected in zip(columns, results, p)
    )


@dataclass(frozen=True)
class _Column:
    """One quantity of both sides, of the observations that have it.

    Attributes:
        sides: where it is from.
        quantity: its name.
        values: labels or numbers.
        people: numbers of contributors.
        current: whether it is of the current week.
        units: all of them, as a test relabels them.
    """

    sides: Sides
    quantity: str
    values: np.ndarray
    people: np.ndarray
    current: np.ndarray
    units: Units

    @property
    def _effect(self) -> Statistic:
        return stability_index if self.quantity in KINDS else largest_gap

    def test(self, most: int, rng: np.random.Generator) -> tuple[float, float]:
        statistic = chi_square if self.quantity in KINDS else scaled_gap
        found = permutation_test(self.units, statistic, self._effect, most, rng)
        return found.p, found.by_chance

    def told(self, found: tuple[float, float] | None) -> DriftTest:
        p, by_chance = found or (None, None)
        effect = float(self._effect(*self.units.sums(self.units.current[None]))[0])
        own, other = (len(np.unique(self.people[chosen])) for chosen in (self.current, ~self.current))
        observations = (int(self.current.sum()), int((~self.current).sum()))
        return DriftTest(
            self.sides.model,
            self.sides.week,
            self.quantity,
            observations,
            (own, other),
            effect,
            by_chance,
            p,
            self._moved(),
        )

    def _moved(self) -> tuple[Moved, ...]:
        if self.quantity not in KINDS:
            return (self._mean(self.quantity, self.values.astype(float)),)
        found = [self._mean(str(name), (self.values == name).astype(float)) for name in _common(self.values, _CLASSES)]
        return tuple(sorted(found, key=lambda each: -abs(each.difference.value))[:NAMED])

    def _mean(self, name: str, values: np.ndarray) -> Moved:
        difference = difference_of(values, self.people, self.current)
        return Moved(name, float(values[~self.current].mean()), float(values[self.current].mean()), difference)


def _column(sides: Sides, quantity: str) -> _Column | None:
    """None where one side has no such value."""
    value_of = KINDS.get(quantity) or QUANTITIES[quantity]
    every = [*sides.current, *sides.reference]
    of_week = np.arange(len(every)) < len(sides.current)
    given = [value_of(each) for each in every]
    known = np.array([value is not None for value in given], bool)
    current = of_week[known]
    if not current.any() or current.all():
        return None
    values = np.array([value for value in given if value is not None])
    chosen = [each for each, is_known in zip(every, known) if is_known]
    weeks = np.unique([week_of(each) for each in chosen], return_inverse=True)[1]
    bins = _name_bins(values) if quantity in KINDS else _number_bins(values)
    people = people_of(chosen)
    return _Column(sides, quantity, values, people, current, units_of(bins, people, weeks, current))


def _common(values: np.ndarray, most: int) -> list[str]:
    return [name for name, _ in sorted(Counter(values.tolist()).items(), key=lambda item: (-item[1], item[0]))[:most]]


def _name_bins(values: np.ndarray) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(_common(values, _CLASSES))}
    return np.array([numbers.get(value, _CLASSES) for value in values.tolist()])


def _number_bins(values: np.ndarray) -> np.ndarray:
    edges = np.unique(values)
    if len(edges) > _GRID:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _GRID), method="higher"))
    return np.searchsorted(edges, values)
