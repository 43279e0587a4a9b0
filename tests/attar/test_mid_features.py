"""Which feature map is the middle one."""

from __future__ import annotations

import pytest

from attar.mid_features import middle


@pytest.mark.parametrize(
    ("reductions", "last", "expected"),
    [
        ([2, 4, 8, 16, 32], -1, 3),  # a MobileNet
        ([2, 4, 8, 16, 32], 3, 2),  # a hybrid over its map of 1/16
        ([4, 8, 16, 32, 32], -1, 2),
        ([16] * 12, -1, 5),  # a ViT: the sixth of twelve blocks
        ([16], -1, 0),
        ([32, 8, 16], -1, 1),
    ],
)
def test_the_last_finer_map_or_half_the_blocks(reductions: list[int], last: int, expected: int) -> None:
    assert middle(reductions, last) == expected
