"""The store of a report's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attar.answers import Answers
from attar.benchmarks.report.predictions import Predictions


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
