"""How many photos it takes to show that one model is better than another, by the exact McNemar test.

Of photos that both models answer, only those count that one of them has right and the other wrong. Their share and the
gain say how many there are to be on each side; the rest is two binomial distributions (Lachin, Statistics in Medicine
11, 1992, unconditional power), summed exactly.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from attar.errors import InputError

POWER = 0.8
"""How often a gain is to be seen."""


def power(images: int, gain: float, differing: float, level: float) -> float:
    """How often the test at a level sees a gain.

    Args:
        images: photos.
        gain: top-1 of the challenger minus the champion's, a share.
        differing: share of photos that exactly one of the two has right, at least `gain`.
        level: of the one-sided test.
    """
    few, many = binom.interval(1 - 1e-12, images, differing)  # elsewhere, nothing counts
    discordant = np.arange(int(few), int(many) + 1)
    chance = binom.pmf(discordant, images, differing)
    # The fewest won photos that the test takes for a gain, of each number of discordant ones.
    fewest = binom.isf(level, discordant, 0.5) + 1
    return float(chance @ binom.sf(fewest - 1, discordant, (differing + gain) / (2 * differing)))


def images_needed(gain: float, differing: float, level: float, wanted: float = POWER) -> int:
    """Photos with which the test sees a gain as often as is wanted; arguments as of `power`.

    Raises:
        InputError: the gain is not one, or larger than the share of photos that differ.
    """
    if not 0 < gain <= differing <= 1:
        raise InputError(f"a gain of {100 * gain:g} points: must be above 0, and at most {100 * differing:g}.")
    many = 1
    while power(many, gain, differing, level) < wanted:
        many *= 2
    few = many // 2
    while many - few > max(1, many // 200):  # half a percent is near enough
        middle = (few + many) // 2
        few, many = (few, middle) if power(middle, gain, differing, level) >= wanted else (middle, many)
    return many
