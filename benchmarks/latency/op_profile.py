"""Where a file's time goes on this machine: its operators, as the runtime's own profiler times them.

Profiling slows an inference down, so it is done in a process of its own, apart from every timed sample. There it also
does no harm if a profiler ends the process. Run as `python -m attar.benchmarks.latency.op_profile FORMAT PATH THREADS`;
prints one JSON object.

Other programs delay single inferences, so an operator's time is the mean of the middle half of what it took in `RUNS`
of them. A median would not do: the profilers tell whole microseconds, and many operators take fewer than ten.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.runtimes import RUNTIMES, Profiled
from attar.children import environment, module_command

RUNS, WARM_UP = 100, 20
"""Profiled inferences that count, and those before them."""


class NotProfiled(Exception):
    """Why it is not known where a file's time goes."""


@dataclass(frozen=True)
class Profile:
    """Where the time of an inference goes, nanoseconds.

    Attributes:
        operators: slowest first, as in a record.
        inference: all of an inference while it is profiled, of the faster quarter the slowest: other programs only ever
            add to it. What no operator took is the runtime's own, and its profiler's.
        runs: inferences that were profiled.
    """

    operators: tuple[dict[str, Any], ...]
    inference: float
    runs: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"operators": list(self.operators), "inference": self.inference, "runs": self.runs}


def profile_of(format: str, path: Path, threads: int) -> Profile:
    """Profile a file in a fresh process.

    Raises:
        NotProfiled: its runtime has no profiler here, or it failed.
    """
    if not RUNTIMES[format].profiler:
        raise NotProfiled(f"the runtime of {format} files has no profiler here")
    command = module_command("attar.benchmarks.latency.op_profile", format, path.resolve(), threads)
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise NotProfiled((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    value = json.loads(done.stdout.splitlines()[-1])
    rows = import_module(RUNTIMES[format].profiler).named(value["operators"], path)
    return Profile(tuple(sorted(rows, key=lambda row: -row["nanoseconds"])), value["inference"], value["runs"])


def summarized(runs: Sequence[Profiled]) -> Profile:
    """One profile of several inferences; its operators stand in the order they ran.

    Raises:
        NotProfiled: they did not all run the same operators.
    """
    names = [(each["name"], each["operator"]) for each in runs[0].operators]
    if any([(each["name"], each["operator"]) for each in run.operators] != names for run in runs):
        raise NotProfiled("its operators were not the same in every inference")
    times = np.array([[each["nanoseconds"] for each in run.operators] for run in runs]).reshape(len(runs), len(names))
    rows = (
        {"name": name, "operator": operator, "nanoseconds": middle(taken)}
        for (name, operator), taken in zip(names, times.T)
    )
    return Profile(tuple(rows), float(np.quantile([run.inference for run in runs], 0.25)), len(runs))


def middle(values: Sequence[float] | np.ndarray) -> float:
    """The mean of the middle half (the interquartile mean)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean())


def shares(operators: Sequence[dict[str, Any]]) -> list[float]:
    """The share of each operator in the time of all."""
    total = sum(each["nanoseconds"] for each in operators)
    return [each["nanoseconds"] / total if total else 0.0 for each in operators]


def kinds(operators: Sequence[dict[str, Any]]) -> list[tuple[str, int, float]]:
    """Operators of one kind together: (kind, how many, share), the largest share first."""
    totals: dict[str, tuple[int, float]] = {}
    for each, share in zip(operators, shares(operators)):
        count, so_far = totals.get(each["operator"], (0, 0.0))
        totals[each["operator"]] = count + 1, so_far + share
    return sorted(((kind, *rest) for kind, rest in totals.items()), key=lambda each: -each[2])


def _main(format: str, path: str, threads: str) -> None:
    runs = import_module(RUNTIMES[format].profiler).profile(path, int(threads), WARM_UP + RUNS)
    print(json.dumps(summarized(runs[WARM_UP:]).to_json()))


if __name__ == "__main__":
    _main(*sys.argv[1:])
