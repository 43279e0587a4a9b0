"""Metrics against scikit-learn, plain loops, and what simulation says an interval must cover."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from attar.metrics import agreement, bootstrap_interval, correct, expected_calibration_error, holm, one_sided, top_k

Case = tuple[np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    images, classes = draw(st.integers(1, 40)), draw(st.integers(3, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = rng.integers(0, classes, images)
    labels[: min(images, classes)] = np.arange(classes)[:images]
    return softmax(rng.normal(size=(images, classes)) * draw(st.floats(0.1, 8)), axis=1), labels


@given(case=cases(), k=st.integers(1, 3))
@settings(deadline=None)
def test_top_k_is_scikit_learns(case: Case, k: int) -> None:
    probabilities, labels = case
    expected = top_k_accuracy_score(labels, probabilities, k=k, labels=range(probabilities.shape[1]))
    if probabilities.shape[1] > k:
        assert top_k(probabilities, labels, k) == pytest.approx(expected)


@given(case=cases())
@settings(deadline=None)
def test_agreement_is_accuracy_against_the_reference(case: Case) -> None:
    probabilities, labels = case
    reference = np.eye(probabilities.shape[1])[labels]
    assert agreement(probabilities, reference) == pytest.approx(accuracy_score(labels, probabilities.argmax(1)))
    assert agreement(probabilities, probabilities) == 1.0


def test_ties_go_to_the_lower_class() -> None:
    probabilities = np.full((4, 4), 0.25)
    labels = np.arange(4)
    assert correct(probabilities, labels).tolist() == [True, False, False, False]
    assert correct(probabilities, labels, k=2).tolist() == [True, True, False, False]
    assert correct(probabilities, labels, k=9).all()


@given(case=cases(), bins=st.integers(1, 20))
@settings(deadline=None)
def test_calibration_error_is_the_plain_loop(case: Case, bins: int) -> None:
    probabilities, labels = case
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(len(labels)) if b / bins < confidence[i] <= (b + 1) / bins]
        if inside:
            total += abs(sum(right[i] - float(confidence[i]) for i in inside))
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(total / len(labels), abs=1e-6)


def test_calibration_error_of_known_cases() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert expected_calibration_error(sure, np.array([0, 0])) == 0.0
    assert expected_calibration_error(sure, np.array([0, 1])) == 0.5
    assert expected_calibration_error(sure, np.array([1, 1])) == 1.0


def test_both_ways_of_resampling_agree() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random(400) < 0.8).astype(float)
    few = bootstrap_interval(values, resamples=20_000)
    many = bootstrap_interval(values + rng.normal(scale=1e-9, size=400), resamples=20_000)
    assert few == pytest.approx(many, abs=0.003)
    error = np.sqrt(values.mean() * (1 - values.mean()) / 400)
    assert few == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.004)


@pytest.mark.parametrize("draw", [lambda r: (r.random(120) < 0.7).astype(float), lambda r: r.normal(0.7, 1, 120)])
def test_coverage(draw: object) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        low, high = bootstrap_interval(draw(rng), resamples=400, seed=seed)  # type: ignore[operator]
        hits += low <= 0.7 <= high
    assert 0.90 <= hits / 300 <= 0.985


@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=90), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_interval_is_ordered_within_range_and_repeatable(values: list[float], seed: int) -> None:
    low, high = bootstrap_interval(np.array(values), resamples=200, seed=seed)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    assert (low, high) == bootstrap_interval(np.array(values), resamples=200, seed=seed)
    wide = bootstrap_interval(np.array(values), level=0.99, resamples=200, seed=seed)
    assert wide[0] <= low and high <= wide[1]


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(2)
    one = rng.random(500) < 0.8
    two = one.copy()
    two[:10] = ~two[:10]
    low, high = bootstrap_interval(one.astype(float) - two)
    alone = bootstrap_interval(one.astype(float))
    assert high - low < (alone[1] - alone[0]) / 2


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(values: list[float]) -> None:
    """Marcus, Peritz and Gabriel 1976: a hypothesis falls if every set of hypotheses that holds it does."""
    p = np.array(values)
    numbers = range(len(p))
    sets = [each for size in range(1, len(p) + 1) for each in combinations(numbers, size)]
    closed = [max(min(1.0, len(each) * p[list(each)].min()) for each in sets if i in each) for i in numbers]
    np.testing.assert_allclose(holm(p), closed, rtol=1e-12)


def test_holm_of_nothing() -> None:
    assert holm(np.zeros(0)).shape == (0,)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 60), st.integers(0, 60))
def test_one_sided_is_scipys_binomial_test(won: int, lost: int) -> None:
    want = binomtest(won, won + lost, alternative="greater").pvalue if won + lost else 1.0
    assert one_sided(np.array(won), np.array(lost)) == pytest.approx(want, abs=1e-12)
