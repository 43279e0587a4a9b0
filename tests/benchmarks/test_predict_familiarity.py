"""Photos that are none of a model's classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.benchmarks.predict import predict
from attar.cli.predict import _table
from attar.export.manifest import read_manifest
from helpers.familiar import familiar_exports

pytestmark = pytest.mark.slow


def test_a_photo_below_the_threshold_is_none_of_its_classes(shared: Path, tmp_path: Path) -> None:
    exports = familiar_exports(shared)
    [entry] = [entry for entry in read_manifest(exports).files if entry.target == "onnx:fp32"]
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 256, (48, 48, 3)) if number % 2 else np.full((48, 48, 3), rng.integers(0, 256, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
    answers = predict(exports / entry.file, tmp_path, threshold=0.0)
    threshold = entry.decision["familiar"]["threshold"]
    assert {each.strange for each in answers} == {True, False}, "the test's pictures are all alike"
    for each in answers:
        assert each.familiarity is not None and each.strange == (each.familiarity < threshold)
        assert each.sure != each.strange and each.to_json()["strange"] == each.strange
    assert "none of its classes" in str(_table([next(each for each in answers if each.strange)]).columns[1]._cells[0])
