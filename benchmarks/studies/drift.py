"""How often `attar drift` finds drift where there is none, and where there is: the table in docs/drift.md.

    python -m attar.benchmarks.studies.drift [--fields 200] [--json results.json]

Fields are made: each contributor has a taste of their own, gets more or less sure answers, and sends something in two
weeks of three. In half of the fields nothing changes; in the others one class becomes common and answers less
confident, in the last two of eight weeks. Beside `attar drift` stand the same quantities with the usual tests of single
observations, as if no two were of the same contributor, corrected in the same way.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from attar.data.observations import Observation, read_observation
from attar.deploy.drift.comparison import KINDS, LEVEL, QUANTITIES
from attar.deploy.drift.report import FIRST, report
from attar.deploy.drift.weeks import week_of
from attar.export.card import table
from attar.files import write_json
from attar.metrics import holm

CLASSES = ("ash", "elm", "fir", "oak", "yew")
MODEL = hashlib.sha256(b"model").hexdigest()
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
"""The first day of the week 2026-W02."""
PEOPLE = (6, 12, 30)
SHIFT_FROM = 6


def made_field(
    seed: int, *, weeks: int = 8, people: int = 12, alike: float = 2.0, shift_from: int | None = None, **changes: Any
) -> list[Observation]:
    """Observations of a model.

    Args:
        seed: of everything.
        weeks: how many.
        people: contributors; in each week two thirds of them send 3 to 20 observations.
        alike: concentration of the contributors' tastes around the common one; small: each sends their own plants.
        shift_from: from this week on the first class is much more common, and answers are less confident.
        changes: of every observation.
    """
    rng = np.random.default_rng(seed)
    tastes = rng.dirichlet(alike * rng.dirichlet(np.full(len(CLASSES), 5.0)), people)
    skill, speed = rng.normal(0, 0.6, people), rng.lognormal(3, 0.5, people)
    made = []
    for week in range(weeks):
        shifted = shift_from is not None and week >= shift_from
        for person in np.flatnonzero(rng.random(people) < 2 / 3):
            for _ in range(rng.integers(3, 21)):
                taste = 0.4 * tastes[person] + 0.6 * np.eye(len(CLASSES))[0] if shifted else tastes[person]
                sure = 1 / (1 + np.exp(-(1.5 + skill[person] + rng.normal(0, 1) - 1.5 * shifted)))
                plain = {
                    "id": str(UUID(bytes=rng.bytes(16), version=4)),
                    "image": rng.bytes(32).hex(),
                    "time": (MONDAY + timedelta(weeks=week, hours=float(rng.uniform(0, 160)))).isoformat(),
                    "predicted": CLASSES[rng.choice(len(CLASSES), p=taste)],
                    "probability": float(sure),
                    "model": MODEL,
                    "verdict": "confirmed" if rng.random() < sure else "unknown",
                    "contributor": f"person {person}",
                    "backend": "litert wasm 4 threads" if person % 3 else "litert webgpu",
                    "latency_ms": float(speed[person] * rng.lognormal(0, 0.2)),
                    "brightness": float(rng.uniform(40, 200)),
                    "sharpness": float(rng.lognormal(6, 1)),
                    "side": int(rng.integers(480, 1280)),
                    "with_geo": False,
                }
                made.append(read_observation({**plain, **changes}, "made"))
    return made


def found_by_drift(observations: Sequence[Observation]) -> bool:
    """Whether `attar drift` says that something drifted."""
    return bool(report(observations).drift)


def found_of_single(observations: Sequence[Observation]) -> bool:
    """Whether Pearson's test or Kolmogorov and Smirnov's does, of single observations."""
    from scipy.stats import chi2_contingency, ks_2samp

    by_week: dict[str, list[Observation]] = {}
    for each in sorted(observations, key=lambda each: each.time):
        by_week.setdefault(week_of(each), []).append(each)
    before = [each for own in list(by_week.values())[:FIRST] for each in own]
    p = []
    for own in list(by_week.values())[FIRST:]:
        for kind in KINDS.values():
            sides = [[kind(each) for each in side] for side in (own, before)]
            names = sorted({str(name) for side in sides for name in side})
            if len(names) > 1:
                p.append(chi2_contingency([[side.count(name) for name in names] for side in sides]).pvalue)
        for value in QUANTITIES.values():
            numbers = [[number for each in side if (number := value(each)) is not None] for side in (own, before)]
            if all(numbers):
                p.append(ks_2samp(*numbers).pvalue)
    return bool((holm(np.array(p)) <= LEVEL).any())


RULES: dict[str, Callable[[Sequence[Observation]], bool]] = {
    "`attar drift`": found_by_drift,
    "tests of single observations": found_of_single,
}


def main() -> None:
    """Make fields, look at them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=200, help="of each kind")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    rows = [["contributors", "rule", "nothing changed: finds drift", "95% interval", "something changed: finds drift"]]
    figures = []
    for people in PEOPLE:
        found = {name: np.zeros((2, options.fields), bool) for name in RULES}
        for seed in range(options.fields):
            for kind, shift_from in enumerate((None, SHIFT_FROM)):
                observations = made_field(seed, people=people, shift_from=shift_from)
                for name, rule in RULES.items():
                    found[name][kind, seed] = rule(observations)
        for name, (nothing, something) in found.items():
            low, high = _interval(nothing)
            rows.append([str(people), name, _percent(nothing.mean()), f"{low} to {high}", _percent(something.mean())])
            figures.append({"people": people, "rule": name, "level": nothing.mean(), "power": something.mean()})
    print(table(rows))
    print(f"\n{options.fields} fields of each kind. Python {platform.python_version()}, NumPy {np.__version__}.")
    if options.json:
        write_json(options.json, figures)


def _interval(found: np.ndarray) -> tuple[str, str]:
    from scipy.stats import binomtest

    interval = binomtest(int(found.sum()), len(found)).proportion_ci(0.95, "wilson")
    return _percent(interval.low), _percent(interval.high)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


if __name__ == "__main__":
    main()
