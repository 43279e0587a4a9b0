"""How often an interval over seeds and photos holds the truth: of the gains in docs/results.md.

    python -m attar.benchmarks.studies.seeds --output runs/seeds

Two ways of training are simulated, each over several seeds and measured on the same photos. A photo is answered
rightly where the sum of its ease, of what the way does to it, of its seed's luck and of the luck of this seed with
this photo is above zero. The truth is the gain over all seeds and photos, which such sums tell; an interval of 95%
should hold it in 95 of 100 draws. Beside attar's interval (`attar.metrics.two_way_interval`): a bootstrap that draws
seeds and photos again (Owen, arXiv 0712.1111), and one of photos alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from attar.console import bar
from attar.files import write_json, write_text
from attar.metrics import bootstrap_interval, two_way_interval

LUCK = {"none": 0.0, "little": 0.1, "much": 0.3}
"""Standard deviation of what a seed does to all of its photos. Of their ease it is 2; of a single answer, 0.6."""
EASE, WAY, ANSWER, GAIN = 2.0, 0.3, 0.6, 0.1
RESAMPLES = 500


def bootstrap_of_both(values: np.ndarray) -> tuple[float, float]:
    """Percentiles of the mean of `values` (seeds, photos), when rows and columns are drawn again."""
    rng = np.random.default_rng(0)
    rows, columns = (rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n for n in values.shape)
    low, high = np.quantile(((rows @ values) * columns).sum(1), [0.025, 0.975])
    return float(low), float(high)


def bootstrap_of_photos(values: np.ndarray) -> tuple[float, float]:
    """Percentiles of the mean of `values` (seeds, photos), when only photos are drawn again."""
    return bootstrap_interval(values.mean(0), resamples=RESAMPLES)


INTERVALS: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
    "attar": two_way_interval,
    "both drawn": bootstrap_of_both,
    "photos drawn": bootstrap_of_photos,
}


def main() -> None:
    """Draw, estimate, count, and write results.json and results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--photos", type=int, default=656)
    parser.add_argument("--seeds", type=int, action="append", help="seeds of a comparison; may be repeated")
    options = parser.parse_args()
    rows = [
        counted(luck, seeds, options.photos, options.draws) for seeds in options.seeds or [3, 5, 10] for luck in LUCK
    ]
    results = {"draws": options.draws, "photos": options.photos, "rows": rows}
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def gains(rng: np.random.Generator, luck: float, seeds: int, photos: int) -> np.ndarray:
    """One way's answers less the other's: -1, 0 or 1, (seeds, photos)."""
    ease, way = rng.normal(EASE, EASE, photos), rng.normal(GAIN, WAY, photos)
    answers = []
    for each in (ease, ease + way):
        noise = rng.normal(0, luck, (seeds, 1)) + rng.normal(0, ANSWER, (seeds, photos))
        answers.append((each + noise > 0).astype(float))
    return answers[1] - answers[0]


def true_gain(luck: float) -> float:
    """What the gain is over all seeds and photos: the sums of normals are normal."""
    from scipy.stats import norm

    noise = luck**2 + ANSWER**2
    plain, better = EASE / (EASE**2 + noise) ** 0.5, (EASE + GAIN) / (EASE**2 + WAY**2 + noise) ** 0.5
    return float(norm.cdf(better) - norm.cdf(plain))


def counted(luck: str, seeds: int, photos: int, draws: int) -> dict[str, Any]:
    """How often each interval held the truth, and how far it reached."""
    truth, rng = true_gain(LUCK[luck]), np.random.default_rng(seeds)
    held, reach = dict.fromkeys(INTERVALS, 0), dict.fromkeys(INTERVALS, 0.0)
    with bar(f"{seeds} seeds, luck: {luck}", draws) as step:
        for _ in range(draws):
            values = gains(rng, LUCK[luck], seeds, photos)
            for name, interval in INTERVALS.items():
                low, high = interval(values)
                held[name] += low <= truth <= high
                reach[name] += (high - low) / 2 / draws
            step()
    return {"luck": luck, "seeds": seeds, "truth": truth, "held": held, "reach": reach}


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    lines = [
        f"| seeds | luck of a seed | {' | '.join(f'{name}, %' for name in INTERVALS)} | attar's reaches, points |",
        f"|---:|---|{'---:|' * len(INTERVALS)}---:|",
    ]
    for row in results["rows"]:
        shares = " | ".join(f"{100 * row['held'][name] / results['draws']:.1f}" for name in INTERVALS)
        lines.append(f"| {row['seeds']} | {row['luck']} | {shares} | ±{100 * row['reach']['attar']:.1f} |")
    lines += [
        "",
        f"How many of {results['draws']} simulated comparisons on {results['photos']} photos had the truth inside "
        "their 95% interval.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
