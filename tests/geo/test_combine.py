"""A photo's answer with its place and season."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.geo.combine import Combination, fit

PHOTO = np.array([[0.5, 0.3, 0.2]], np.float32)


def test_the_formula_by_hand() -> None:
    prior = np.array([[0.001, 0.8, 0.4]])
    both = Combination(floor=0.1, weight=0.5)(PHOTO, prior, np.ones(3, bool))
    products = np.array([0.5, 0.3, 0.2]) * np.sqrt([0.1, 0.8, 0.4])
    assert both == pytest.approx(products[None] / products.sum(), abs=1e-7)


def test_a_label_without_observations_counts_as_the_mean_of_the_others() -> None:
    prior, observed = np.array([[0.9, 0.5, 0.0]]), np.array([True, True, False])
    both = Combination(floor=0.1, weight=1.0)(PHOTO, prior, observed)
    products = np.array([0.5 * 0.9, 0.3 * 0.5, 0.2 * 0.7])
    assert both == pytest.approx(products[None] / products.sum(), abs=1e-7)
    nobody = Combination()(PHOTO, np.full((1, 3), 0.5), np.zeros(3, bool))
    assert nobody == pytest.approx(PHOTO, abs=1e-7)


def test_without_weight_the_answer_is_the_photos_bit_for_bit() -> None:
    assert Combination(weight=0.0)(PHOTO, np.zeros((1, 3)), np.ones(3, bool)) is PHOTO


@pytest.mark.parametrize(("floor", "weight"), [(0.0, 1.0), (1.5, 1.0), (0.1, -1.0), (float("nan"), 1.0), (0.1, 1e9)])
def test_a_floor_and_weight_that_there_are_not(floor: float, weight: float) -> None:
    with pytest.raises(ValueError, match="a floor is in"):
        Combination(floor, weight)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.1, 1.0]), st.floats(0.01, 5))
def test_rows_sum_to_one_and_order_follows_a_prior_that_is_the_same_for_all(
    seed: int, floor: float, weight: float
) -> None:
    random = np.random.default_rng(seed)
    photo = random.dirichlet(np.ones(6), 4).astype(np.float32)
    both = Combination(floor, weight)(photo, random.random((4, 6)), random.random(6) < 0.7)
    assert both.sum(1) == pytest.approx(1) and (both >= 0).all()
    flat = Combination(floor, weight)(photo, np.full((4, 6), 0.3), np.ones(6, bool))
    assert flat == pytest.approx(photo / photo.sum(1, keepdims=True), abs=1e-6)


def test_what_is_fitted_is_what_makes_the_labels_likeliest() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 400)
    photo = random.dirichlet(np.ones(4), 400)
    knows = np.full((400, 4), 0.01)
    knows[np.arange(400), labels] = 0.9
    every = np.ones(4, bool)
    assert fit(photo, knows, every, labels).weight == 2.0
    assert fit(photo, random.random((400, 4)), every, labels).weight == 0.0
