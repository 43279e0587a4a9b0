"""Thresholds: against MAPIE's conformal sets, scipy's exact intervals, and worlds in which the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from scipy.special import softmax
from scipy.stats import binom, binomtest
from sklearn.base import BaseEstimator, ClassifierMixin

from attar.errors import GateError, InputError
from attar.export.decision import (
    CONFIDENCE,
    COVERAGE,
    PRECISION,
    Outcomes,
    check_precision,
    commonness,
    decide,
    fewest,
    members,
    outcomes,
    prove,
    weighed,
)

CLASSES = 8


def world(images: int, seed: int, sure: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (images, classes), and labels that are drawn by them."""
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(size=(images, CLASSES)) * rng.uniform(0.5, sure, (images, 1)), 1)
    return probabilities, (probabilities.cumsum(1) > rng.random((images, 1))).argmax(1)


class Known(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of scikit-learn whose inputs are its probabilities."""

    def fit(self, probabilities: np.ndarray, labels: np.ndarray) -> Any:
        self.classes_ = np.arange(CLASSES)
        return self

    def predict(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities.argmax(1)

    def predict_proba(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities


@pytest.mark.parametrize("images", [30, 200, 1000])
def test_sets_are_mapies_and_never_empty(images: int) -> None:
    probabilities, labels = world(images, 0, sure=30)
    threshold = decide(probabilities, labels)["set"]["threshold"]
    fresh, _ = world(500, 1, sure=30)
    theirs = SplitConformalClassifier(Known().fit(probabilities, labels), confidence_level=COVERAGE, prefit=True)
    _, sets = theirs.conformalize(probabilities, labels).predict_set(fresh)
    ours = members(fresh, None, threshold)
    full = sets[..., 0].any(1)
    assert ((~full).any() or images < 100) and full.mean() > 0.8 and np.array_equal(ours[full], sets[full, :, 0])
    assert np.array_equal(ours[~full], np.eye(CLASSES, dtype=bool)[fresh[~full].argmax(1)])


def test_coverage_and_precision_hold_on_other_photos() -> None:
    """Each world's promises are kept on average, and the promise of precision in nearly every world."""
    covered, kept, promised = [], 0, 0
    for seed in range(200):
        probabilities, labels = world(300, 2 * seed, sure=8)
        decision = decide(probabilities, labels)
        fresh, theirs = world(2000, 2 * seed + 1, sure=8)
        rows = np.arange(len(theirs))
        covered.append(members(fresh, None, decision["set"]["threshold"])[rows, theirs].mean())
        prove(decision, outcomes(decision, fresh, theirs, None))
        if decision["sure"]["threshold"] is not None:
            right = (fresh.argmax(1) == theirs)[fresh.max(1) >= decision["sure"]["threshold"]]
            promised += 1
            kept += binom.cdf(right.sum(), len(right), PRECISION) > 0.05
    assert COVERAGE - 0.005 < np.mean(covered) < COVERAGE + 0.03
    assert promised > 120 and kept > 0.9 * promised


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([0.8, 0.9, 0.95]))
def test_what_is_called_sure_is_the_largest_share_with_that_lower_bound(seed: int, images: int, wanted: float) -> None:
    probabilities, labels = world(images, seed, sure=10)
    sure = decide(probabilities, labels, precision=wanted)["sure"]
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels

    def low(threshold: float) -> float:
        said = right[confidence >= threshold]
        test = binomtest(int(said.sum()), len(said), 0.5, alternative="greater")
        return float(test.proportion_ci(CONFIDENCE, "exact").low)

    enough = [threshold for threshold in confidence if low(threshold) >= wanted]
    assert sure["threshold"] == (min(enough) if enough else None)
    assert sure["share"] == ((confidence >= min(enough)).mean() if enough else 0)


def test_too_few_photos_are_told_and_how_many_would_do() -> None:
    few = fewest(0.95)
    assert few == 59
    for images in (few - 1, few):
        probabilities = np.tile(np.eye(CLASSES)[0] * 0.5 + 0.0625, (images, 1))
        sure = decide(probabilities, np.zeros(images, int))["sure"]
        assert (sure["threshold"] is None) == (images < few)
    probabilities, labels = world(58, 0)
    assert "59 can, if all are right" in decide(probabilities, labels)["sure"]["reason"]
    probabilities, labels = world(400, 0, sure=0.6)
    assert decide(probabilities, labels)["sure"]["reason"] == "no confidence is right 95% of the time for certain"


def test_equal_confidences_are_on_one_side() -> None:
    probabilities = np.tile(np.eye(CLASSES)[0] * 0.5 + 0.0625, (200, 1))
    labels = np.r_[np.zeros(100, int), np.ones(100, int)]
    assert decide(probabilities, labels)["sure"]["threshold"] is None


def test_rare_labels_are_held_too() -> None:
    """One class in a hundred photos: without weights the sets seldom hold it."""
    rng = np.random.default_rng(0)
    prior = np.array([0.9, 0.09, 0.01])

    def draw(images: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(3, images, p=prior)
        likelihood = np.exp(rng.normal(size=(images, 3)) + 2.0 * np.eye(3)[labels])
        return likelihood * prior / (likelihood * prior).sum(1, keepdims=True), labels

    fitted, fresh = draw(4000), draw(20_000)
    common = commonness(np.round(prior * 10_000))
    rare = fresh[1] == 2

    def held(weights: np.ndarray | None) -> float:
        threshold = decide(*fitted, weights)["set"]["threshold"]
        return float(members(fresh[0], weights, threshold)[rare, 2].mean())

    assert held(None) < 0.3 and held(common) > 0.7
    assert np.allclose(weighed(fresh[0], common) * common * 3, fresh[0])


def test_classes_that_are_nearly_as_common_are_not_weighed() -> None:
    assert commonness(np.array([40, 60, 79])) is None
    common = commonness(np.array([0, 10, 90]))
    assert common is not None and common.sum() == pytest.approx(1) and (common > 0).all()


def test_broken_promises_are_found_out_and_kept_ones_are_not() -> None:
    probabilities, labels = world(500, 0, sure=8)
    decision = decide(probabilities, labels)
    prove(decision, outcomes(decision, probabilities, labels, None))
    mixed = probabilities[np.random.default_rng(0).permutation(500)]
    with pytest.raises(GateError, match=r"sure answers are right, not 95%; its sets hold the label of"):
        prove(decision, outcomes(decision, mixed, labels, None))
    flat = np.full_like(probabilities, 1 / CLASSES)  # sure of nothing, so nothing sure is wrong
    with pytest.raises(GateError, match=r"sets hold the label"):
        prove(decision, outcomes(decision, flat, labels, None))


def test_batches_come_to_the_same_as_all_photos_at_once() -> None:
    groups = np.array([[0, 0, 1, 1, 2, 2, 3, 3]])
    probabilities, labels = world(300, 0, sure=8)
    common = np.arange(1.0, CLASSES + 1) / 36
    decision = decide(probabilities, labels, common, groups=groups)
    whole = outcomes(decision, probabilities, labels, common, groups)
    parts = [slice(0, 7), slice(7, 7), slice(7, 200), slice(200, 300)]
    joined = Outcomes.joined([outcomes(decision, probabilities[p], labels[p], common, groups) for p in parts])
    assert whole.sure.shape == whole.right.shape == (2, 300) and 0 < whole.sure[0].sum() < whole.sure[1].sum()
    for name in ("sure", "right", "held"):
        assert np.array_equal(getattr(whole, name), getattr(joined, name)), name


def test_groups_are_sure_more_often_than_labels() -> None:
    """Pairs of labels that are confused with each other only."""
    rng = np.random.default_rng(0)
    groups = np.array([[0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]])

    def draw(images: int) -> tuple[np.ndarray, np.ndarray]:
        pair, first = rng.integers(0, 4, images), rng.beta(1, 1, images)
        probabilities = np.zeros((images, CLASSES))
        probabilities[np.arange(images), 2 * pair] = 0.99 * first
        probabilities[np.arange(images), 2 * pair + 1] = 0.99 * (1 - first)
        probabilities += 0.01 / CLASSES
        return probabilities, (probabilities.cumsum(1) > rng.random((images, 1))).argmax(1)

    probabilities, labels = draw(1000)
    decision = decide(probabilities, labels, groups=groups)
    assert decision["sure"]["share"] < 0.2 and [each["share"] for each in decision["groups"]] == [1, 1]
    fresh = draw(2000)
    prove(decision, outcomes(decision, *fresh, None, groups))
    swapped = np.roll(fresh[0], 2, axis=1)
    with pytest.raises(GateError, match=r"sure answers are right, not 95%; .* of 2000 sure answers"):
        prove(decision, outcomes(decision, swapped, fresh[1], None, groups))


@pytest.mark.parametrize("precision", [1.0, 0.3, 95])
def test_no_precision(precision: float) -> None:
    with pytest.raises(InputError, match=r"such as 0\.95"):
        check_precision(precision)
