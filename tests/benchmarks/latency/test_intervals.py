"""Intervals hold what they promise: on drawn series with a known truth, and in what must always be so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attar.benchmarks.latency.intervals import (
    Estimate,
    dependence,
    in_rounds,
    percentile_estimates,
    percentile_ratio,
    ratio_estimate,
    resampled,
)
from attar.benchmarks.studies.coverage import BLOCK, MACHINES, RATIO, counted, markdown, series

ROUNDS = arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 6)), elements=st.floats(1e3, 1e9))


def test_samples_by_rounds() -> None:
    assert in_rounds([1, 2, 3, 4, 5], 2).tolist() == [[1, 2], [3, 4]]
    assert in_rounds([], 5).shape == (0, 5)


@settings(max_examples=60, deadline=None)
@given(ROUNDS, st.floats(1e-3, 1e3))
def test_an_interval_holds_its_value_and_follows_the_unit(rounds: np.ndarray, unit: float) -> None:
    for one, scaled in zip(percentile_estimates(rounds), percentile_estimates(unit * rounds)):
        assert one.low <= one.value <= one.high
        assert scaled.value == pytest.approx(unit * one.value)
        assert (scaled.low, scaled.high) == pytest.approx((unit * one.low, unit * one.high))


@settings(max_examples=60, deadline=None)
@given(ROUNDS, st.floats(0.1, 10), st.integers(0, 2**32 - 1))
def test_what_slows_both_files_down_cancels_in_their_ratio(rounds: np.ndarray, ratio: float, seed: int) -> None:
    pace = np.exp(np.random.default_rng(seed).normal(0, 1, (len(rounds), 1)))
    estimate = ratio_estimate(ratio * rounds * pace, rounds * pace)
    assert estimate.value == pytest.approx(ratio)
    assert (estimate.low, estimate.high) == pytest.approx((ratio, ratio)) or len(rounds) < 16


def test_a_ratio_turned_round_is_its_inverse() -> None:
    one, other = series("wandering", np.random.default_rng(0), 51)
    there, back = ratio_estimate(one, other), ratio_estimate(other, one)
    assert back.value == pytest.approx(1 / there.value)
    assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low), rel=0.01)


def test_few_samples_bound_no_tail_and_many_do() -> None:
    few, many = (percentile_estimates(series("steady", np.random.default_rng(1), rounds)[0])[2] for rounds in (20, 200))
    assert few.high == float("inf") and few.to_json()["high"] is None
    assert many.value < many.high < float("inf")


@pytest.mark.parametrize("rounds", [1, 3])
def test_without_rounds_nothing_is_known(rounds: int) -> None:
    one, other = series("steady", np.random.default_rng(1), rounds)
    unknown = [*percentile_estimates(one), ratio_estimate(other, one), percentile_ratio(other, one, 90)]
    assert all((each.low, each.high) == (0.0, float("inf")) for each in unknown)


def test_neighbours_are_drawn_together_where_rounds_depend_on_each_other() -> None:
    rng = np.random.default_rng(0)
    alone, together = rng.normal(size=200), np.cumsum(rng.normal(size=200))
    assert dependence(alone) <= 3 < 10 < dependence(together)
    drawn = resampled(20, 5, resamples=50)
    assert drawn.shape == (50, 20) and set(np.unique(drawn)) == set(range(20))
    assert ((np.diff(drawn[:, :5]) % 20) == 1).all()


@pytest.mark.parametrize("name", MACHINES)
def test_intervals_hold_the_truth_as_often_as_they_promise(name: str) -> None:
    """The bounds allow for chance: 60 runs of 95% hold in at least 51, but for one in ten thousand."""
    held = counted(name, 60, 60)["coverage"]
    assert held["ratio"]["held"] >= 51 and held["p90 ratio"]["held"] >= 51
    if name in ("steady", "outliers", "wandering"):
        assert min(held[key]["held"] for key in ("p50", "p90", "p99")) >= 51


def test_the_table_says_how_often() -> None:
    rows = [counted("steady", 20, 4)]
    table = markdown({"runs": 4, "block": BLOCK, "ratio": RATIO, "rows": rows})
    assert "| steady | 20 | 100.0 |" in table or "| steady | 20 | 75.0 |" in table


def test_an_estimate_is_plain_data() -> None:
    assert Estimate(2.0, 1.0, 3.0).to_json() == {"value": 2.0, "low": 1.0, "high": 3.0}
