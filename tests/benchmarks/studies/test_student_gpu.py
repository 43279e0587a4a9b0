"""What bounds a student's training: the study runs, in small, where there is no GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attar.benchmarks.studies import student_gpu


@pytest.mark.slow
def test_it_runs_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    options = "--student mobilenetv3_small_050 --batch 4 --size 32 --steps 3 --photos 4 --rounds 1"
    monkeypatch.setattr("sys.argv", ["student_gpu", "--output", str(tmp_path), *options.split()])
    student_gpu.main()
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["images_per_second"]) == [
        "the step alone",
        "the training loop",
        "the training loop, views drawn",
    ]
    assert all(rate > 0 for [rate] in results["images_per_second"].values()) and results["workers"] > 0
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| the ")]) == 3
    assert not list(tmp_path.glob("*.training.pt*"))


def test_the_table_shows_medians_and_all_turns() -> None:
    results = {
        "on": "a GPU",
        "torch": "2",
        "device": {"cores": 2},
        "student": "s",
        "size": 224,
        "batch_size": 4,
        "workers": 1,
        "peak": 1e12,
        "operations": 10**8,
        "images_per_second": {"the training loop": [100.0, 300.0, 200.0]},
        "waits": 0.0,
        "busy": 0.5,
    }
    text = student_gpu.markdown(results)
    assert "| the training loop | 200 | 100 to 300 | 2.0% |" in text
    assert "1.00 TFLOP/s" in text and "50% of the step's time" in text
