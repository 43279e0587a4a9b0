"""The answers that a report keeps: what it computes of them is what all probabilities would give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.benchmarks.report.predictions import KEPT, Answers, Predictions, most_probable
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


def test_answers_are_computed_once_and_of_another_shape_refused(tmp_path: Path) -> None:
    store, asked = Predictions(tmp_path / "store"), []

    def compute() -> list[np.ndarray]:
        asked.append(1)
        return [np.eye(7, dtype=np.float32)[:4], np.eye(7, dtype=np.float32)[4:]]

    first, second = (store.get(["a"], (7, 7), compute) for _ in range(2))
    assert isinstance(second, Answers) and len(asked) == 1
    np.testing.assert_array_equal(first.classes, second.classes)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    for shape in [(8, 7), (7, 9)]:
        with pytest.raises(ValueError, match="expected"):
            store.get(["b"], shape, compute)
