"""A benchmark of the benchmark: how often its intervals hold the truth, on series whose truth is known.

    python -m attar.benchmarks.studies.coverage --output runs/coverage

Each kind of series is drawn many times: two files in turns, five samples in a turn, the second file 1.30 times as slow.
What disturbs a machine disturbs both alike. The truth of a percentile is that of a series of a million rounds. An
interval of 95% should hold it in 95 of 100 runs; the table says in how many it did.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from attar.benchmarks.latency.intervals import percentile_estimates, percentile_ratio, ratio_estimate
from attar.benchmarks.latency.stability import verdict
from attar.console import bar
from attar.files import write_json, write_text

RATIO, BLOCK, LEVEL_NS = 1.30, 5, 1e6
Machine = Callable[[np.random.Generator, int], np.ndarray]
"""(random numbers, rounds) -> the machine's pace in each round, around 1."""


def steady(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """Nothing disturbs it."""
    return np.ones(rounds)


def autocorrelated(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """A pace that wanders around its mean: 4% of spread, correlation 0.7 from one round to the next."""
    return np.exp(_wandering(rng, rounds, 0.7, 0.04))


def drifting(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """One that becomes 20% slower from start to end."""
    return np.linspace(1.0, 1.2, rounds)


def throttling(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """One that becomes 40% slower at once, somewhere in the middle third."""
    return np.where(np.arange(rounds) < rng.uniform(1 / 3, 2 / 3) * rounds, 1.0, 1.4)


def two_speeds(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """One that stays at either of two speeds for ten rounds or so, 25% apart."""
    slow = np.cumsum(rng.random(rounds) < 0.1) + rng.integers(2)
    return np.where(slow % 2 == 1, 1.25, 1.0)


MACHINES: dict[str, Machine] = {
    "steady": steady,
    "outliers": steady,
    "wandering": autocorrelated,
    "two speeds": two_speeds,
    "drift": drifting,
    "throttling": throttling,
}
STATIONARY = ("steady", "outliers", "wandering", "two speeds")
"""Machines of which a run is a part of something longer, whose percentiles can be asked for."""


def series(name: str, rng: np.random.Generator, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Latencies of the two files in nanoseconds, each (rounds, BLOCK)."""
    pace = MACHINES[name](rng, rounds)[:, None]
    files = []
    for level in (LEVEL_NS, RATIO * LEVEL_NS):
        noise = rng.gamma(4.0, 0.01, (rounds, BLOCK))  # one-sided: an inference is late, never early
        late = (rng.random((rounds, BLOCK)) < 0.03) * rng.pareto(2.0, (rounds, BLOCK)) if name == "outliers" else 0.0
        files.append(level * pace * (1 + noise + late))
    return files[0], files[1]


def main() -> None:
    """Draw, estimate, count, and write results.json and results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/coverage"))
    parser.add_argument("--runs", type=int, default=400, help="series of each kind and length")
    parser.add_argument("--rounds", type=int, action="append", help="rounds of a run; may be repeated")
    options = parser.parse_args()
    lengths = options.rounds or [20, 60, 200]
    rows = [counted(name, rounds, options.runs) for name in MACHINES for rounds in lengths]
    results = {"runs": options.runs, "block": BLOCK, "ratio": RATIO, "rows": rows}
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def counted(name: str, rounds: int, runs: int) -> dict[str, Any]:
    """How often each interval held the truth in so many runs of one kind and length, and how wide the ratio's was."""
    truth = _truth(name)
    held: dict[str, list[bool]] = {}
    widths, trusted = [], 0
    with bar(f"{name}, {rounds} rounds", runs) as step:
        for run in range(runs):
            one, other = series(name, np.random.default_rng((run, rounds)), rounds)
            estimates = dict(zip(("p50", "p90", "p99"), percentile_estimates(one)))
            if name not in STATIONARY:
                estimates = {}
            estimates["ratio"] = ratio_estimate(other, one)
            estimates["p90 ratio"] = percentile_ratio(other, one, 90)
            for key, estimate in estimates.items():
                held.setdefault(key, []).append(estimate.low <= truth[key] <= estimate.high)
            widths.append((estimates["ratio"].high - estimates["ratio"].low) / 2)
            trusted += verdict([one, other], ["one", "other"]).trusted
            step()
    coverage = {key: {"held": sum(each), "interval": _interval(each)} for key, each in held.items()}
    reach = float(np.median(widths))
    return {"series": name, "rounds": rounds, "coverage": coverage, "ratio_reach": reach, "trusted": trusted}


def _truth(name: str) -> dict[str, float]:
    truth = {"ratio": RATIO, "p90 ratio": RATIO}
    if name in STATIONARY:
        values = series(name, np.random.default_rng(12345), 1_000_000)[0]
        truth |= dict(zip(("p50", "p90", "p99"), np.percentile(values, [50, 90, 99]).tolist()))
    return truth


def _interval(held: list[bool]) -> list[float]:
    interval = binomtest(sum(held), len(held)).proportion_ci(0.95, "wilson")
    return [float(interval.low), float(interval.high)]


def _wandering(rng: np.random.Generator, rounds: int, correlation: float, spread: float) -> np.ndarray:
    from scipy.signal import lfilter

    steps = rng.normal(0, spread * (1 - correlation**2) ** 0.5, rounds)
    steps[0] = rng.normal(0, spread)
    return lfilter([1], [1, -correlation], steps)


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/latency.md shows it."""
    keys = ("p50", "p90", "p99", "ratio", "p90 ratio")
    lines = [
        f"| machine | rounds | {' | '.join(f'{key}, %' for key in keys)} | ratio known to | trusted, % |",
        f"|---|---:|{'---:|' * len(keys)}---:|---:|",
    ]
    for row in results["rows"]:
        cells = [
            f"{100 * row['coverage'][key]['held'] / results['runs']:.1f}" if key in row["coverage"] else ""
            for key in keys
        ]
        lines.append(
            f"| {row['series']} | {row['rounds']} | {' | '.join(cells)} | ±{100 * row['ratio_reach'] / RATIO:.1f}% "
            f"| {100 * row['trusted'] / results['runs']:.1f} |"
        )
    lines += [
        "",
        f"How many of {results['runs']} simulated runs had the truth inside their 95% interval (a share itself known "
        f"to about {100 * 1.96 * (0.95 * 0.05 / results['runs']) ** 0.5:.0f} points), and how many the verdict trusts; "
        f"{results['block']} samples a round.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
