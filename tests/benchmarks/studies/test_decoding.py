"""The decoders' benchmark, small: what it says of each decoder is so."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.benchmarks.studies import decoding


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "decoding --width 256 --height 192 --photos 2 --sizes 32 128 --rounds 2 --threads 2 --output"
    monkeypatch.setattr("sys.argv", [*words.split(), str(tmp_path)])
    decoding.main()
    results = json.loads((tmp_path / "results.json").read_text())
    rows = {(row["size"], row["decoder"]): row for row in results["rows"]}
    assert {decoder for _, decoder in rows} >= {"whole", "draft", "torchvision"}
    assert rows[32, "whole"]["cpu_ratio"] == 1 and rows[32, "whole"]["mean_difference"] == 0
    assert 0 < rows[32, "draft"]["mean_difference"] < 2, "reduced"
    assert rows[128, "draft"]["mean_difference"] == 0, "too small to be reduced"
    assert all(row["images_per_second_threads"] > 0 and row["cpu_ms"] > 0 for row in rows.values())
    assert (tmp_path / "results.md").read_text().count("\n| ") == len(rows)


def test_the_photos_are_colourful_detailed_and_replayable() -> None:
    data = decoding.jpeg(128, 96, 1)
    pixels = np.asarray(Image.open(io.BytesIO(data))).astype(float)
    assert pixels.shape == (96, 128, 3) and data == decoding.jpeg(128, 96, 1) != decoding.jpeg(128, 96, 2)
    assert pixels.std() > 30 and np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 5
    assert np.abs(np.diff(pixels, axis=1)).mean() > 3
