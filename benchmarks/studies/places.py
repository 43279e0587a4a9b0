"""What place and season add to a photo's answer, in made worlds whose ranges are known: the table in docs/geo.md.

    python -m attar.benchmarks.studies.places [--seeds 5] [--json results.json]

In each world (`attar.benchmarks.studies.world`) a prior is fitted to 2,000 observations, and a model that looks at
photos alone is right on about half of 1,000 others. Floor and weight are fitted, and the gain is told, as
`attar geo --photos` does it: by cells of the globe that the prior has not seen (`attar.geo.gain`). Each row is one kind
of world with several seeds; the interval is of the mean over seeds and, within each seed, over cells. Some worlds are
wrong on purpose: the photos' places are swapped, or shifted, as a mistaken table would have them.

A second table has the files of a prior of 1,000 labels: what they weigh, and how far their answers are from the prior's
where all labels are told apart by chance only.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from attar.benchmarks.studies.world import World
from attar.export.card import table
from attar.export.geo_files import export_prior
from attar.files import write_json
from attar.geo.files import Prior, save
from attar.geo.fit import GeoSpec
from attar.geo.gain import Asked, fit_combination, hold_out
from attar.geo.prior import GeoPrior

OBSERVATIONS, PHOTOS = 2000, 1000
CLEAR = 1.5
"""How clear photos are: about half are answered right by themselves."""
Change = Callable[[Asked], Asked]


def _same(asked: Asked) -> Asked:
    return asked


def _swapped(asked: Asked) -> Asked:
    latitude, longitude = asked.degrees.T
    return replace(asked, degrees=np.stack([np.clip(longitude, -90, 90), latitude], 1))


def _shifted(asked: Asked) -> Asked:
    latitude, longitude = asked.degrees.T
    return replace(asked, degrees=np.stack([latitude, (longitude + 300) % 360 - 180], 1))


def _undated(asked: Asked) -> Asked:
    return replace(asked, days=np.zeros(len(asked.days)))


WORLDS: dict[str, tuple[dict[str, Any], Change]] = {
    "12 labels with ranges, half of them with a season": ({}, _same),
    "the same, photos without a date": ({}, _undated),
    "100 labels": ({"labels": 100}, _same),
    "12 labels that live in the same places": ({"same": True}, _same),
    "12 labels, latitude and longitude of the photos swapped": ({}, _swapped),
    "12 labels, longitudes of the photos 120° away": ({}, _shifted),
}
"""What a row is called -> how its world is made, and what is done to its photos."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="worlds of each kind")
    parser.add_argument("--steps", type=int, default=GeoSpec.steps, help="of each prior's training")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    figures = {
        name: [measured(how, change, seed, options.steps) for seed in range(options.seeds)]
        for name, (how, change) in WORLDS.items()
    }
    rows = [["world", "right alone, %", "with place, %", "gain, points", "least and most", "weight"]]
    for name, told in figures.items():
        low, high = interval(told)
        gains = [100 * each["gain"] for each in told]
        rows.append(
            [
                name,
                f"{100 * np.mean([each['alone'] for each in told]):.1f}",
                f"{100 * np.mean([each['with_place'] for each in told]):.1f}",
                f"{np.mean(gains):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
                f"{min(gains):+.1f}, {max(gains):+.1f}",
                ", ".join(f"{each['weight']:g}" for each in told),
            ]
        )
    print(table(rows))
    print(f"\n{options.seeds} seeds, {options.steps} steps. Python {platform.python_version()}, {platform.machine()}.")
    if options.json:
        write_json(options.json, figures)
    print(f"\n{table(files())}")


def files(labels: int = 1000) -> list[list[str]]:
    """Rows: of each format the file, its size and its largest error."""
    names = tuple(f"label {number}" for number in range(labels))
    rows = [["format", "file", f"for {labels:,} labels", "largest error"]]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "geo"
        torch.manual_seed(0)
        save(Prior(GeoPrior(labels).eval(), names, np.ones(labels, np.int64)), path)
        for each in export_prior(path, ["all"]).files:
            error = each.verification["max_abs_error"]
            rows.append([f"`{each.format}`", f"`{each.file}`", f"{each.bytes / 1e6:.2f} MB", f"{error:.4f}"])
    return rows


def measured(how: dict[str, Any], change: Change, seed: int, steps: int) -> dict[str, Any]:
    """One world: what `attar.geo.gain` tells, and the combination that it fits."""
    world = World(**how, seed=seed)
    taken = world.observe(PHOTOS, seed=seed + 1000)
    asked = change(Asked(world.photos(taken, seed=seed, clear=CLEAR), taken.label, taken.places, taken.days))
    seen = world.observe(OBSERVATIONS, seed=seed)
    chosen, told = fit_combination(hold_out(seen, GeoSpec(steps=steps, seed=seed)), seen.counts > 0, asked)
    return {**told, **chosen.to_json()}


def interval(told: list[dict[str, Any]]) -> tuple[float, float]:
    """95% interval of the mean gain: the spread over seeds, and the mean of the variances within them, both counted."""
    from scipy.stats import t

    gains = np.array([each["gain"] for each in told])
    within = np.mean([((each["high"] - each["low"]) / 3.92) ** 2 for each in told]) / len(told)
    between = gains.var(ddof=1) / len(told) if len(told) > 1 else 0.0
    wide = float(t.ppf(0.975, max(len(told) - 1, 1)) if between > within else 1.96) * max(between, within) ** 0.5
    return float(gains.mean() - wide), float(gains.mean() + wide)


if __name__ == "__main__":
    main()
