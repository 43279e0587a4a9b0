"""What `attar gate` promotes by luck, and what it sees: the tables in docs/gate.md.

    python -m attar.benchmarks.studies.gate [--histories 1000] [--json results.json]

The first table is made histories of twenty rounds on one set of photos. Every photo has a chance of being answered
right, and every model of a history draws its answers by them: all models are equally good. A challenger that is
promoted is the champion of the next round. Each rule's row says in how many histories it promoted anything; what
`attar gate` asks besides (classes, pinned photos, latency) can only lower that.

The second table is how often the test sees a gain, by the number of photos and by how many of them the two models
answer differently, one right and one wrong: computed exactly (`attar.deploy.release.power`).
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

from attar.deploy.release.ledger import LOOKS, level
from attar.deploy.release.power import images_needed, power
from attar.export.card import table
from attar.files import write_json
from attar.metrics import bootstrap_interval, one_sided

PHOTOS = 1000
GAIN = 0.02
DIFFERING = (0.03, 0.06, 0.12)
IMAGES = (250, 500, 1000, 2000, 4000, 8000)

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Numbers of won and lost photos, int (histories,) -> whether to promote, bool (histories,)."""

RULES: dict[str, Rule] = {
    "`attar gate`: McNemar's test at 5% / 20": lambda won, lost: one_sided(won, lost) <= level(),
    "the same test at 5%, every round": lambda won, lost: one_sided(won, lost) <= 0.05,
    "whatever has more photos right": lambda won, lost: won > lost,
    "one point of top-1 more": lambda won, lost: won - lost >= 0.01 * PHOTOS,
}


def main() -> None:
    """Simulate, compute, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=1000, help=f"of {LOOKS} rounds each")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    promoted = {name: histories(rule, options.histories) for name, rule in RULES.items()}
    rows = [["promotes", "histories with a promotion, %", "95% interval"]]
    for name, lucky in promoted.items():
        low, high = bootstrap_interval(lucky.astype(float))
        rows.append([name, f"{100 * lucky.mean():.1f}", f"{100 * low:.1f} to {100 * high:.1f}"])
    print(table(rows))
    print(f"\n{options.histories} histories of {LOOKS} rounds, {PHOTOS} photos, all models equally good.\n")
    seen = {f"{share:g}": [power(images, GAIN, share, level()) for images in IMAGES] for share in DIFFERING}
    rows = [["photos", *(f"{100 * share:g}% of photos differ" for share in DIFFERING)]]
    rows += [
        [f"{images:,}", *(f"{100 * each[number]:.0f}%" for each in seen.values())]
        for number, images in enumerate(IMAGES)
    ]
    needed = [images_needed(GAIN, share, level()) for share in DIFFERING]
    rows.append(["for 80%", *(f"{each:,} photos" for each in needed)])
    print(table(rows))
    print(f"\nPython {platform.python_version()}, NumPy {np.__version__}.")
    if options.json:
        lucky_shares = {name: float(lucky.mean()) for name, lucky in promoted.items()}
        write_json(options.json, {"promoted": lucky_shares, "power": seen, "needed": needed})


def histories(rule: Rule, count: int, seed: int = 0) -> np.ndarray:
    """Whether each of `count` histories promoted anything, bool (count,), by one rule."""
    draw = np.random.default_rng(seed)
    chances = draw.beta(4, 0.7, (count, PHOTOS))  # most photos are easy, some are a matter of luck, few are hard
    champion = draw.random(chances.shape) < chances
    lucky = np.zeros(count, bool)
    for _ in range(LOOKS):
        challenger = draw.random(chances.shape) < chances
        won, lost = (challenger & ~champion).sum(1), (champion & ~challenger).sum(1)
        promoted = rule(won, lost)
        champion[promoted] = challenger[promoted]
        lucky |= promoted
    return lucky


if __name__ == "__main__":
    main()
