"""How often several files of one run ship together, by the gate's two rules: a table in docs/gate.md.

    python -m attar.benchmarks.studies.gate_files [--histories 100000]

The files are near-copies: each answers a share of the photos otherwise than its student, and which ones is a matter of
chance. A file is right about as often as its student. What `attar gate` asks besides the gain (classes, pinned photos,
latency) is left out.
"""

from __future__ import annotations

import argparse

import numpy as np

from attar.deploy.release.ledger import level
from attar.deploy.release.paired import not_worse
from attar.deploy.release.primary import limits_of
from attar.deploy.release.verdict import Limits
from attar.export.card import table
from attar.metrics import one_sided

PHOTOS = 2000
TOP1 = 0.9
DIFFERING = 0.06
"""Share of photos that exactly one of the two students has right."""
OTHERWISE = 0.01
"""Share of photos that a file answers otherwise than its student: half of them rightly."""
FILES = (1, 2, 4)
GAINS = {"two points better": 0.02, "no better": 0.0}
"""What the challenger's student is, and its top-1 minus the champion's."""
RULES = {"each shows the gain": (Limits(), ""), "`--primary`": (Limits(margin=0.01), "file 0")}


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=100_000, help="draws of photos")
    options = parser.parse_args()
    rows = [["files", *(f"{kind}: {rule}" for kind in GAINS for rule in RULES)]]
    for files in FILES:
        cells = []
        for gain in GAINS.values():
            won, lost = drawn(gain, files, options.histories)
            shares = [ships(won, lost, *rule, level()).mean() for rule in RULES.values()]
            cells += [f"{100 * share:.0f}%" if gain else f"{100 * share:.3f}%" for share in shares]
        rows.append([str(files), *cells])
    print(table(rows))


def drawn(gain: float, files: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Photos that only the challenger's, and only the champion's file has right, int (files, count) each.

    Args:
        gain: top-1 of the challenger's student minus the champion's.
        files: of each.
        count: draws of `PHOTOS` photos.
        seed: of the draws.
    """
    draw = np.random.default_rng(seed)
    won, lost = (DIFFERING + gain) / 2, (DIFFERING - gain) / 2
    # Of each photo, whether the champion's and the challenger's student are right.
    kinds = {(1, 1): TOP1 - lost, (1, 0): lost, (0, 1): won, (0, 0): 1 - TOP1 - won}
    photos = draw.multinomial(PHOTOS, list(kinds.values()), count)
    right = {1: 1 - OTHERWISE / 2 / TOP1, 0: OTHERWISE / 2 / (1 - TOP1)}  # a file, by whether its student is
    counts = np.zeros((2, files, count), np.int64)
    for number, (before, now) in enumerate(kinds):
        shares = [(1 - right[before]) * right[now], right[before] * (1 - right[now])]
        for file in range(files):
            counts[:, file] += draw.multinomial(photos[:, number], [*shares, 1 - sum(shares)])[:, :2].T
    return counts[0], counts[1]


def ships(won: np.ndarray, lost: np.ndarray, limits: Limits, primary: str, level: float) -> np.ndarray:
    """Whether every file passes the test of its gain, bool (count,); counts as of `drawn`."""
    margins = [limits_of(f"file {number}", primary, limits).margin for number in range(len(won))]
    return np.all([_p(*each) <= level for each in zip(won, lost, margins)], axis=0)


def _p(won: np.ndarray, lost: np.ndarray, margin: float) -> np.ndarray:
    """As `attar.deploy.release.verdict.judge` has it, float (count,)."""
    if not margin:
        return one_sided(won, lost)
    pairs, place = np.unique(np.stack([won, lost], 1), axis=0, return_inverse=True)
    return np.array([not_worse(int(more), int(fewer), PHOTOS, margin) for more, fewer in pairs])[place]


if __name__ == "__main__":
    main()
