"""Shares of a flame chart add up, and nothing of an inference is left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.benchmarks.report.flame_chart import SMALLEST, TYPES, flame_chart_of, in_tenths

# Nanoseconds, never so few that a millionth of them is nothing.
times = st.lists(st.just(0.0) | st.floats(1e-3, 1e9), min_size=1, max_size=60)


def told(values: list[float], types: int = 3) -> list[dict[str, Any]]:
    return [{"name": f"n{i}", "operator": f"T{i % types}", "nanoseconds": value} for i, value in enumerate(values)]


@given(times)
@settings(deadline=None)
def test_tenths_add_up_and_are_off_by_less_than_one(values: list[float]) -> None:
    tenths, total = in_tenths(values), sum(values)
    assert sum(tenths) == (1000 if total else 0)
    assert all(abs(each - 1000 * value / total) <= 1 for each, value in zip(tenths, values) if total)


@given(times, st.integers(1, 14), st.floats(0.001, 1e4))
@settings(deadline=None)
def test_every_operator_is_in_one_group_and_all_is_accounted_for(values: list[float], types: int, p50: float) -> None:
    profile = flame_chart_of(told(values, types), p50)
    if profile is None:
        assert sum(values) == 0
        return
    assert sum(group.tenths for group in profile.groups) == 1000 and len(profile.groups) <= TYPES + 2
    assert sum(group.milliseconds for group in profile.groups) == pytest.approx(profile.total)
    assert sum(group.count for group in profile.groups) == len(values)
    for group in profile.groups:
        assert sum(node.tenths for node in group.nodes) == group.tenths or group.milliseconds == 0
        assert sum(node.milliseconds for node in group.nodes) == pytest.approx(group.milliseconds)


def test_what_no_operator_took_is_named_and_profiling_that_slows_is_told() -> None:
    rows = told([3e6, 1e6], 2)
    fast = flame_chart_of(rows, latency=5.0)
    assert (
        fast
        and [(g.name, g.tenths, g.rest) for g in fast.groups]
        == [("T0", 600, False), ("T1", 200, False), ("outside of operators", 200, True)]
        and fast.slowed is None
    )
    slow = flame_chart_of(rows, latency=2.0)
    assert slow and slow.total == 4.0 and slow.slowed == 2.0 and not any(g.rest for g in slow.groups)
    whole = flame_chart_of(rows, latency=2.0, profiled=8.0)
    assert whole and [g.tenths for g in whole.groups] == [375, 125, 500] and whole.slowed == 4.0


def test_small_nodes_stand_together() -> None:
    profile = flame_chart_of(told([1e6, *[1e6 * SMALLEST / 2] * 5], 1), latency=0.5)
    assert profile and [node.name for node in profile.groups[0].nodes] == ["n0", "5 small ones"]


def test_no_time_is_no_profile() -> None:
    assert flame_chart_of([], 1.0) is None and flame_chart_of(told([0.0]), 1.0) is None
