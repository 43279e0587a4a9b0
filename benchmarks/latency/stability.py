"""Whether the figures of a run can be trusted, in plain words.

All files take turns, so what they have in common is the machine: its pace in a round is the median over files of how
slow each was against its own median. From the pace one sees a machine that throttled or woke up, and one that is
unsteady. Beyond that the clock of the CPU tells how long other programs held it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attar.benchmarks.latency.intervals import percentile_estimates
from attar.benchmarks.latency.record import Record
from attar.benchmarks.latency.warmup import change_in

SLOWED = 0.07
"""A change of the machine's pace in the middle of a run that is worth telling."""
UNSTEADY = 0.05
"""Half the width of a median's interval, as a share of it, above which the median says too little."""
WAITED = 0.05
"""Share of the timed seconds in which the CPU did not compute."""
STEPS = 10
"""A median sample of fewer steps of a browser's clock is known too coarsely, however alike the samples are."""


@dataclass(frozen=True)
class Verdict:
    """Whether to trust a run.

    Attributes:
        trusted: nothing was found that speaks against it.
        reasons: what was found, a sentence each.
        remedies: what to do about it, a sentence each.
    """

    trusted: bool
    reasons: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"trusted": self.trusted, "reasons": list(self.reasons), "remedies": list(self.remedies)}

    def __str__(self) -> str:
        if self.trusted:
            return "The machine was steady."
        return " ".join(["These times cannot be trusted.", *self.reasons, *self.remedies])


def pace(files: Sequence[np.ndarray]) -> np.ndarray:
    """How slow the machine was in each round, 1 in the median.

    Args:
        files: for each file (rounds, samples of a round); all of the same number of rounds.

    Returns:
        (rounds,).
    """
    levels = np.stack([np.median(each, axis=1) for each in files])
    return np.median(levels / np.median(levels, axis=1, keepdims=True), axis=0)


def verdict(
    files: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    waited: float | None = None,
    unsettled: Sequence[str] = (),
    coarse: Sequence[str] = (),
) -> Verdict:
    """Judge a run.

    Args:
        files: as `pace` takes them.
        names: of the files, for sentences.
        waited: share of the timed seconds in which the CPU computed something else, or nothing; None: unknown.
        unsettled: names of files whose warm-up did not settle.
        coarse: names of files whose samples last only a few steps of the clock.
    """
    reasons: list[tuple[str, str]] = []
    change = change_in(pace(files), matters=SLOWED)
    if change:
        reasons.append(_of_change(change.ratio, change.at / len(files[0])))
    wide = [name for name, each in zip(names, files) if _reach(each) > UNSTEADY]
    if wide:
        reasons.append(
            (
                f"The median of {_listed(wide)} is known to no better than {100 * UNSTEADY:.0f}%.",
                "Measure for longer (--seconds).",
            )
        )
    if waited is not None and waited > WAITED:
        reasons.append(
            (
                f"Other programs held the CPU for {100 * waited:.0f}% of the timed seconds.",
                "Close other programs, or measure when the machine is idle.",
            )
        )
    if unsettled:
        reasons.append(
            (
                f"{_listed(unsettled)} had not settled when warm-up ended.",
                "Measure again; if it stays so, the file's latency itself wanders.",
            )
        )
    if coarse:
        reasons.append(
            (
                f"A sample of {_listed(coarse)} lasts fewer than {STEPS} steps of the browser's clock.",
                "Measure where the browser has a finer clock: over HTTPS, or on this machine itself.",
            )
        )
    return Verdict(
        not reasons, tuple(reason for reason, _ in reasons), tuple(dict.fromkeys(each for _, each in reasons))
    )


def of_runs(records: Sequence[Record]) -> Verdict:
    """Judge the records of one run or several: each by itself, and all trusted if every one is."""
    runs: dict[str, list[Record]] = {}
    for each in records:
        runs.setdefault(each.run, []).append(each)
    verdicts = [of_run(run) for run in runs.values()]
    reasons = tuple(reason for each in verdicts for reason in each.reasons)
    remedies = tuple(dict.fromkeys(remedy for each in verdicts for remedy in each.remedies))
    return Verdict(all(each.trusted for each in verdicts), reasons, remedies)


def of_run(records: Sequence[Record]) -> Verdict:
    """Judge the records of one run."""
    count = min(len(each.rounds) for each in records)
    waited = [each.conditions["waited"] for each in records if each.conditions.get("waited") is not None]
    unsettled = [each.file for each in records if not each.conditions.get("settled", True)]
    coarse = [each.file for each in records if _steps(each) < STEPS]
    rounds = [each.rounds[:count] for each in records]
    names = [each.file for each in records]
    return verdict(rounds, names, waited=max(waited, default=None), unsettled=unsettled, coarse=coarse)


def _steps(each: Record) -> float:
    """Of a browser's clock in the median sample; infinite where the clock is as fine as any."""
    steps = each.conditions.get("timer_nanoseconds")
    if not steps:
        return float("inf")
    timer = max(step for step in steps if step is not None)
    return each.percentiles["p50"] * each.conditions.get("inferences_per_sample", 1) / timer


def _of_change(ratio: float, where: float) -> tuple[str, str]:
    after = f"after {100 * where:.0f}% of the run"
    if ratio > 1:
        return (
            f"The machine became {100 * (ratio - 1):.0f}% slower {after}: it throttles, or another program started.",
            "Let it cool down between turns (--cool-down), and close other programs.",
        )
    return (
        f"The machine became {100 * (1 - ratio):.0f}% faster {after}: another program ended, or its clock went up.",
        "Measure again.",
    )


def _reach(rounds: np.ndarray) -> float:
    (median,) = percentile_estimates(rounds, (50,))
    return (median.high - median.low) / 2 / median.value


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
