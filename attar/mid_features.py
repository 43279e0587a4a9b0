"""Which feature map of a network is its middle one: for students and teachers alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def middle(reductions: Sequence[int], last: int = -1) -> int:
    """The number of the middle feature map, in the order of timm's `feature_info`.

    Of a network in stages, the last map that is finer than map `last`: mostly of 1/16 of the image's side, where the
    last one has 1/32. Of one whose maps are all alike, as a ViT's, that of the block half-way.

    Args:
        reductions: the image's side over each map's.
        last: the number of the map that counts as the last.
    """
    last %= len(reductions)
    finer = [number for number in range(last) if reductions[number] < reductions[last]]
    return finer[-1] if finer else max(0, (last + 1) // 2 - 1)


def reductions_of(network: Any) -> list[int]:
    """timm's `reduction` of each feature map of a network; it has `feature_info`."""
    info = network.feature_info
    return [int(each["reduction"]) for each in getattr(info, "info", info)]
