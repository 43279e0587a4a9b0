"""Clustered statistics beside scipy's, and by what they promise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, ks_2samp, permutation_test

from attar.deploy.drift import clustered
from attar.deploy.drift.clustered import (
    Share,
    chi_square,
    difference_of,
    largest_gap,
    share_of,
    stability_index,
    units_of,
)

counts = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=6)


@settings(deadline=None)  # the machine may be busy
@given(counts)
def test_statistics_are_scipys(drawn: list[tuple[int, int]]) -> None:
    both = np.array(drawn, float).T + np.array([[1], [1]])  # scipy refuses empty classes
    expected = chi2_contingency(both, correction=False).statistic
    assert chi_square(both[:1], both[1:])[0] == pytest.approx(expected)
    own, other = (np.repeat(np.arange(len(drawn)), side.astype(int)) for side in both)
    assert largest_gap(both[:1], both[1:])[0] == pytest.approx(ks_2samp(own, other).statistic)


def test_the_stability_index_is_zero_of_equal_shares_and_that_of_the_books() -> None:
    own, other = np.array([[600.0, 400.0]]), np.array([[500.0, 500.0]])
    by_hand = (0.6 - 0.5) * np.log(0.6 / 0.5) + (0.4 - 0.5) * np.log(0.4 / 0.5)
    assert stability_index(own, other)[0] == pytest.approx(by_hand, rel=0.01)
    assert stability_index(own, own)[0] == 0 == stability_index(np.array([[5.0, 0.0]]), np.array([[5.0, 0.0]]))[0]
    assert np.isfinite(stability_index(np.array([[5.0, 0.0]]), np.array([[0.0, 5.0]]))[0])
    more = np.array([[600.0, 400.0, 0.0]]), np.array([[500.0, 500.0, 0.0]])
    assert stability_index(*more)[0] == stability_index(own, other)[0], "a class that nobody saw is none"


def test_relabelling_keeps_contributors_whole_and_mixed_ones_apart() -> None:
    # Ana: weeks 0, 1 (reference) and 2; Ben: week 0 alone, twice; Cem: week 2 alone; Dan: weeks 0 and 1.
    people = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    weeks = np.array([0, 1, 2, 0, 0, 2, 0, 1])
    units = units_of(np.array([0, 1, 0, 1, 1, 0, 0, 1]), people, weeks, weeks == 2)
    assert units.group.tolist() == [0, 0, 0, 1, 1, 1]
    assert units.counts.tolist() == [[0, 2], [1, 0], [1, 1], [1, 0], [0, 1], [1, 0]]
    assert units.current.tolist() == [False, True, False, False, False, True]
    assert units.arrangements == pytest.approx(3 * 3)
    labels = units.relabelled(np.random.default_rng(0), 900)
    distinct, times = np.unique(labels, axis=0, return_counts=True)
    expected = {(*(n == a for n in range(3)), *(n == b for n in range(3))) for a in range(3) for b in range(3)}
    assert {tuple(row) for row in distinct.tolist()} == expected and times.min() > 60


def test_a_p_value_is_that_of_all_relabellings_and_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 6, 9)
    people = np.repeat(np.arange(9), sizes)
    values = rng.integers(0, 3, len(people)) + (people < 4)
    units = units_of(values, people, np.zeros_like(people), people < 4)

    def statistic(chosen: tuple[int, ...]) -> float:
        labels = np.isin(np.arange(9), chosen)
        return float(chi_square(*units.sums(labels[None]))[0])

    every = [statistic(chosen) for chosen in combinations(range(9), 4)]
    exact = np.mean(np.array(every) >= statistic((0, 1, 2, 3)) - 1e-9)
    monkeypatch.setattr(clustered, "ENOUGH", 1_000_000)  # all of them are tried
    found = clustered.permutation_test(units, chi_square, stability_index, 20_000, np.random.default_rng(0))
    assert 0.01 < exact < 0.9 and found.p == pytest.approx(exact, abs=0.015)

    def of_units(own: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
        rows = units.counts[own.astype(int)].sum(-2), units.counts[other.astype(int)].sum(-2)
        return chi_square(*(np.atleast_2d(row) for row in rows)).reshape(own.shape[:-1])

    theirs = permutation_test(
        (np.arange(4), np.arange(4, 9)), of_units, vectorized=True, alternative="greater", n_resamples=np.inf
    )
    assert theirs.pvalue == pytest.approx(exact)


def test_what_is_far_apart_has_the_smallest_p_and_equal_sides_none() -> None:
    people = np.arange(40)
    units = units_of((people < 20).astype(int), people, np.zeros(40, int), people < 20)
    found = clustered.permutation_test(units, chi_square, stability_index, 999, np.random.default_rng(0))
    assert found.p == 1 / 1000 and found.by_chance < stability_index(*units.sums(units.current[None]))[0]
    same = units_of(people % 2, people, np.zeros(40, int), people < 20)
    assert clustered.permutation_test(same, chi_square, stability_index, 999, np.random.default_rng(0)).p == 1.0


def test_tests_that_can_find_nothing_do_not_cost_the_others() -> None:
    able = clustered.able_to_reject(np.array([0.02, 0.001, 0.03, 0.2, 0.001]), 0.05)
    assert able.tolist() == [False, True, False, False, True]  # three would have to reach 0.0167, which only two can
    assert clustered.able_to_reject(np.array([0.04]), 0.05).tolist() == [True]
    assert clustered.able_to_reject(np.array([0.2, 0.06]), 0.05).tolist() == [False, False]
    assert clustered.able_to_reject(np.zeros(0), 0.05).tolist() == []


def wilson(hits: int, number: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(hits, number).proportion_ci(0.95, "wilson")
    return interval.low, interval.high


def test_an_interval_of_independent_observations_is_wilsons() -> None:
    rng = np.random.default_rng(1)
    hits = rng.random(4000) < 0.3
    share = share_of(hits, np.arange(4000))
    assert (share.low, share.high) == pytest.approx(wilson(hits.sum(), 4000), abs=1e-3)


def test_an_interval_of_what_few_people_repeat_is_that_of_few() -> None:
    people = np.repeat(np.arange(20), 100)
    share = share_of(people < 10, people)  # each always says the same
    low, high = wilson(10, 20)
    assert share.value == 0.5 and share.low and share.high
    assert share.low < low + 0.01 and share.high > high - 0.01
    assert share_of(np.array([True, False]), np.array([0, 0])) == Share(0.5, None, None)
    nothing = share_of(np.zeros(300, bool), np.repeat(np.arange(3), 100))
    assert nothing.value == nothing.low == 0 and nothing.high and nothing.high > 0.5


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held, moved = [], []
    for _ in range(400):
        people = np.repeat(np.arange(25), rng.integers(1, 30, 25))
        taste = rng.beta(1.4, 0.6, 25)  # 0.7 in the mean
        hits = rng.random(len(people)) < taste[people]
        share = share_of(hits, people)
        assert share.low is not None and share.high is not None
        held.append(share.low <= 0.7 <= share.high)
        current = rng.random(len(people)) < 0.4
        found = difference_of(rng.normal(taste[people], 0.3), people, current)
        assert found.low is not None and found.high is not None
        moved.append(found.low <= 0 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.99 and 0.92 <= np.mean(moved) <= 0.99


def test_a_difference_of_independent_observations_is_welchs() -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(2)
    values, current = rng.normal(size=600), np.arange(600) < 300
    values[current] += 0.5
    found = difference_of(values, np.arange(600), current)
    theirs = ttest_ind(values[current], values[~current], equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    alone = difference_of(np.array([1.0, 2.0, 4.0]), np.array([0, 0, 1]), np.array([True, False, False]))
    assert (alone.value, alone.low, alone.high) == (-2.0, None, None)
