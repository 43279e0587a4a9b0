"""Whether files have become slower than a baseline: a gate for continuous integration that noise does not trip.

    attar bench runs/attar --history lab.sqlite --against v1.2 --fail-if "p50 > 1.10x baseline"

A condition fails only where the whole 95% interval of the ratio lies above its limit. There are two ways to a ratio:

- *side by side*: the baseline's file is still where it was measured, and takes turns with the new one in this very run.
  What the machine does then cancels (`attar.benchmarks.latency.intervals`);
- *from history*: the new run against the runs that have the baseline's tag. How much runs differ is learned from those,
  so there have to be at least three: the interval is Student's for one more run like them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import t

from attar.benchmarks.latency.history import device_key
from attar.benchmarks.latency.intervals import LEVEL, Estimate, percentile_ratio, ratio_estimate
from attar.benchmarks.latency.record import Key, Record
from attar.benchmarks.units import estimate_text
from attar.errors import InputError

FIGURES = ("p50", "p90", "p99", "size")
FEWEST_RUNS = 3
"""Runs of a baseline from which it can be said how much runs differ."""


@dataclass(frozen=True)
class Condition:
    """A figure of a file that may be at most `limit` times the baseline's."""

    figure: str
    limit: float

    def __str__(self) -> str:
        return f"{self.figure} > {self.limit:g}x baseline"


@dataclass(frozen=True)
class Judgement:
    """One figure of one file against the baseline's.

    Attributes:
        target: which file, by its target.
        runtime: the name of what ran it.
        figure: of `FIGURES`.
        ratio: the file's over the baseline's.
        way: `side by side`, `from history` or, for sizes, `exact`.
        condition: what was asked; None where only the ratio was.
    """

    target: str
    runtime: str
    figure: str
    ratio: Estimate
    way: str
    condition: Condition | None = None

    @property
    def outcome(self) -> Literal["failed", "undecided", "passed"]:
        """Failed: certainly above the limit. Undecided: above it, by no more than noise could explain."""
        if self.condition is None or self.ratio.value <= self.condition.limit:
            return "passed"
        return "failed" if self.ratio.low > self.condition.limit else "undecided"

    def __str__(self) -> str:
        return f"{self.target} {self.figure} {estimate_text(self.ratio)}x"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        asked = None if self.condition is None else str(self.condition)
        return {
            "target": self.target,
            "runtime": self.runtime,
            "figure": self.figure,
            "ratio": self.ratio.to_json(),
            "way": self.way,
            "condition": asked,
            "outcome": self.outcome,
        }


def read_condition(text: str) -> Condition:
    """`p50 > 1.10x baseline` -> what it asks.

    Raises:
        InputError: it is spelled otherwise.
    """
    match = re.fullmatch(r"\s*(\w+)\s*>\s*(\d+(?:\.\d+)?)\s*[x×]\s*(?:baseline)?\s*", text)
    if not match or match[1] not in FIGURES or float(match[2]) <= 0:
        raise InputError(
            f"--fail-if {text!r}: not a condition. Spell it `p50 > 1.10x baseline`, with one of {', '.join(FIGURES)}."
        )
    return Condition(match[1], float(match[2]))


def of_baseline(
    records: Sequence[Record], tag: str, device: dict[str, Any], threads: int, runtimes: Collection[str]
) -> dict[Key, list[Record]]:
    """(Target, runtime) -> a tag's records of this device, with as many threads, by these runtimes, oldest first.

    Raises:
        InputError: there are none, and why.
    """
    if not records:
        raise InputError(f"--against {tag}: no run has this tag. `attar history FILE` lists them.")
    here = [each for each in records if device_key(each.device) == device_key(device)]
    if not here:
        names = sorted({str(each.device.get("model") or each.device.get("cpu")) for each in records})
        raise InputError(f"--against {tag}: measured on {', '.join(names)}, not on this device. Measure it here first.")
    alike = [each for each in here if each.threads == threads]
    if not alike:
        counts = sorted({each.threads for each in here})
        raise InputError(
            f"--against {tag}: measured with {counts[0]} threads, not {threads}. Use --threads {counts[0]}."
        )
    names = sorted({each.runtime["name"] for each in alike})
    alike = [each for each in alike if each.runtime["name"] in runtimes]
    if not alike:
        raise InputError(f"--against {tag}: measured in {', '.join(names)}, not in {', '.join(sorted(runtimes))}.")
    matching: dict[Key, list[Record]] = {}
    for each in alike:
        matching.setdefault(each.key, []).append(each)
    return matching


def require_runs(baseline: dict[Key, list[Record]], alone: Sequence[Key], tag: str) -> None:
    """Refuse a baseline whose files are gone and that has too few runs to say how much runs differ.

    Args:
        baseline: as `of_baseline` gives it.
        alone: those whose baseline cannot be timed side by side.
        tag: for the message.
    """
    few = [key for key in alone if len(_runs(baseline[key])) < FEWEST_RUNS]
    if few:
        raise InputError(
            f"--against {tag}: the file of {few[0][0]} is no longer where it was measured, and one run in a history of "
            f"{len(_runs(baseline[few[0]]))} says nothing of how much runs differ. Keep the file there, or measure the "
            f"baseline at least {FEWEST_RUNS} times with --tag {tag}."
        )


def judge(
    new: Record, baseline: Sequence[Record], beside: Record | None, conditions: Sequence[Condition]
) -> list[Judgement]:
    """Hold a file against its baseline.

    Args:
        new: the file's record.
        baseline: records of the baseline's file of the same target in the same runtime, oldest first.
        beside: the baseline's file in the run of `new`, if it took turns with it.
        conditions: what is asked; none: the ratio of medians.
    """
    judgements = []
    asked: Sequence[Condition | None] = conditions or [None]
    for condition in asked:
        figure = condition.figure if condition else "p50"
        if figure == "size":
            exact = new.bytes / baseline[-1].bytes
            ratio, way = Estimate(exact, exact, exact), "exact"
        elif beside is not None:
            ratio, way = _side_by_side(new, beside, figure), "side by side"
        else:
            ratio, way = from_history(new, baseline, figure), "from history"
        judgements.append(Judgement(*new.key, figure, ratio, way, condition))
    return judgements


def from_history(new: Record, baseline: Sequence[Record], figure: str) -> Estimate:
    """A run's percentile over that of the runs before, with Student's interval for one more run like those."""
    logs = np.log([each.percentiles[figure] for each in _runs(baseline)])
    difference = float(np.log(new.percentiles[figure]) - logs.mean())
    reach = t.ppf((1 + LEVEL) / 2, len(logs) - 1) * logs.std(ddof=1) * (1 + 1 / len(logs)) ** 0.5
    return Estimate(*(float(np.exp(difference + each)) for each in (0.0, -reach, reach)))


def _side_by_side(new: Record, beside: Record, figure: str) -> Estimate:
    if figure == "p50":
        return ratio_estimate(new.rounds, beside.rounds)
    return percentile_ratio(new.rounds, beside.rounds, float(figure[1:]))


def _runs(records: Sequence[Record]) -> list[Record]:
    """One record a run: the last, should there be two of one target."""
    return list({each.run: each for each in records}.values())
