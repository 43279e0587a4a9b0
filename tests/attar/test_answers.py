"""The answers that are kept: what is computed of them is what all probabilities would give."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attar.answers import KEPT, most_probable
from attar.metrics import correct, expected_calibration_error, reliability


@given(st.integers(1, 40), st.integers(2, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_figures_of_kept_answers_are_those_of_all_probabilities(
    images: int, classes: int, batch: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct values, so that many probabilities are equal.
    probabilities = rng.integers(0, 4, (images, classes)).astype(np.float32) + np.float32(0.5)
    probabilities /= probabilities.sum(1, keepdims=True)
    labels = rng.integers(0, classes, images)
    answers = most_probable(probabilities[start : start + batch] for start in range(0, images, batch))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :KEPT]
    np.testing.assert_array_equal(answers.classes, order)
    np.testing.assert_array_equal(answers.best, probabilities.argmax(1))
    np.testing.assert_array_equal(answers.confidence, probabilities.max(1))
    kept, places = answers.probabilities, answers.places(labels)
    for k in (1, 5):
        np.testing.assert_array_equal(correct(kept, places, k), correct(probabilities, labels, k))
    assert reliability(kept, places) == reliability(probabilities, labels)
    assert expected_calibration_error(kept, places) == expected_calibration_error(probabilities, labels)
