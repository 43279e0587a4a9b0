"""Temperatures: against scipy's softmax, scikit-learn's temperature scaling, and worlds whose temperature is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from attar.metrics import error_of_confidence
from attar.temperature import TEMPERATURES, at_temperatures, calibrate, cross_fitted, fit, log_sums

CLASSES = 12


def world(images: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (images, classes) of a model that is right as often as it says, once they are divided by `temperature`."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(images, CLASSES)) * rng.uniform(0.5, 4, (images, 1))
    labels = (softmax(honest, 1).cumsum(1) > rng.random((images, 1))).argmax(1)
    return temperature * honest, labels


def answers(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `calibrate` takes."""
    probabilities = softmax(logits, 1)
    return probabilities.max(1), log_sums(probabilities), probabilities.argmax(1) == labels


class Known(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of scikit-learn whose inputs are its logits."""

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> Any:
        self.classes_ = np.arange(CLASSES)
        return self

    def predict(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(1)

    def decision_function(self, logits: np.ndarray) -> np.ndarray:
        return logits


@given(st.integers(0, 2**32 - 1))
def test_confidences_are_those_of_softmax_at_each_temperature(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, CLASSES)) * 10
    probabilities = softmax(logits, 1).astype(np.float32)
    found = at_temperatures(probabilities.max(1), log_sums(probabilities))
    expected = np.stack([softmax(logits / t, 1).max(1) for t in TEMPERATURES], 1)
    assert np.abs(found - expected).max() < 1e-5


def test_a_class_that_rounding_made_impossible_does_no_harm() -> None:
    probabilities = np.array([[1, 0, 0], [0.5, 0.5, 0]], np.float32)
    found = at_temperatures(probabilities.max(1), log_sums(probabilities))
    assert found[0] == pytest.approx(1) and found[1] == pytest.approx(0.5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found_as_scikit_learn_finds_it(temperature: float) -> None:
    logits, labels = world(20_000, temperature)
    calibration = calibrate(*answers(logits, labels))
    theirs = CalibratedClassifierCV(FrozenEstimator(Known().fit(logits, labels)), method="temperature", ensemble=False)
    [fitted] = theirs.fit(logits, labels).calibrated_classifiers_
    assert calibration.temperature == pytest.approx(1 / fitted.calibrators[0].beta_, rel=0.06)
    assert calibration.temperature == pytest.approx(temperature, rel=0.06)
    assert calibration.after < 0.015
    assert (calibration.before > 0.05) == (temperature != 1)


def test_a_photos_own_temperature_does_not_know_the_photo() -> None:
    logits, labels = world(60, 3.0)
    confidence, sums, right = answers(logits, labels)
    confidences = at_temperatures(confidence, sums)
    before = cross_fitted(confidences, right)
    for photo in range(0, 60, 7):
        changed = right.copy()
        changed[photo] ^= True
        assert cross_fitted(confidences, changed)[photo] == before[photo]


@pytest.mark.parametrize("images", [1, 2, 12])
def test_few_photos_change_little(images: int) -> None:
    """All right: the likeliest temperature would be zero."""
    confidence = np.full(images, 0.9)
    probabilities = np.tile(np.array([0.9] + [0.1 / 11] * 11), (images, 1))
    confidences = at_temperatures(confidence, log_sums(probabilities))
    assert TEMPERATURES[fit(confidences, np.ones(images, bool))] > 0.6
    calibration = calibrate(confidence, log_sums(probabilities), np.ones(images, bool))
    assert 0.6 < calibration.temperature <= 1 and calibration.images == images


def test_a_temperature_that_helps_no_other_photo_is_none() -> None:
    helped = [calibrate(*answers(*world(40, 1.0, seed))) for seed in range(20)]
    alone = [each for each in helped if each.temperature == 1]
    assert len(alone) > 5 and all(each.before == each.after for each in alone)


def test_photos_that_it_never_saw_are_calibrated_too() -> None:
    logits, labels = world(2000, 3.0)
    temperature = calibrate(*answers(logits, labels)).temperature
    fresh, theirs = world(20_000, 3.0, seed=1)
    probabilities = softmax(fresh / temperature, 1)
    right = probabilities.argmax(1) == theirs
    assert error_of_confidence(probabilities.max(1), right) < 0.02
