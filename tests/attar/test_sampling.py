"""Some of many, evenly spread."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from attar.sampling import spread


@given(items=st.integers(0, 300), count=st.integers(1, 300))
def test_what_is_taken_is_in_order_and_as_even_as_can_be(items: int, count: int) -> None:
    taken = spread(range(items), count)
    assert len(taken) == min(items, count) and taken == sorted(set(taken))
    gaps = [after - before for before, after in pairwise(taken)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert count < 2 or not taken or (taken[0], taken[-1]) == (0, items - 1)
