"""Photos that are none of a model's classes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.benchmarks.predict import predict
from attar.cli.predict import _table
from attar.export.manifest import read_manifest, write_manifest
from helpers.familiar import familiar_exports

pytestmark = pytest.mark.slow


def test_a_photo_below_the_threshold_is_none_of_its_classes(shared: Path, tmp_path: Path) -> None:
    """What a student of a few steps finds strange is chance, so the threshold is put between pictures here."""
    exports, photos = shutil.copytree(familiar_exports(shared), tmp_path / "exports"), tmp_path / "photos"
    manifest = read_manifest(exports)
    [entry] = [entry for entry in manifest.files if entry.target == "onnx:fp32"]
    rng = np.random.default_rng(0)
    photos.mkdir()
    for number in range(40):
        pixels = rng.integers(0, 256, (48, 48, 3)) if number % 2 else np.full((48, 48, 3), rng.integers(0, 256, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(photos / f"{number}.png")
    familiar = [each.familiarity for each in predict(exports / entry.file, photos, threshold=0.0)]
    threshold = float(np.median(familiar))
    decision = {**entry.decision, "familiar": {**entry.decision["familiar"], "threshold": threshold}}
    write_manifest(manifest.with_file(replace(entry, decision=decision)), exports)
    answers = predict(exports / entry.file, photos, threshold=0.0)
    assert sum(each.strange for each in answers) == 20
    for each in answers:
        assert each.familiarity is not None and each.strange == (each.familiarity < threshold)
        assert each.sure != each.strange and each.to_json()["strange"] == each.strange
    assert "none of its classes" in str(_table([next(each for each in answers if each.strange)]).columns[1]._cells[0])
