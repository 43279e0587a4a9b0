"""`attar quickstart` for real, held to what the README promises of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from attar.recipe import read_recipe
from helpers import warm

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_the_quickstart_keeps_its_promises(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        warm.attar("quickstart", "--quick", "--json"), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["teacher"]["top1"]["value"] >= 0.98
    assert rows["student"]["top1"]["value"] >= 0.97
    targets = read_recipe(ROOT / "attar" / "cli" / "quickstart.yaml").targets
    assert set(rows) == {"teacher", "student", *targets} and report["failed"] == []
    for target in targets:
        assert abs(rows[target]["difference"]["value"]) <= 0.01, target
    data = report.pop("data")  # of the photos; the report's file does not have it
    assert json.loads((tmp_path / "quickstart" / "report.json").read_text()) == report
    assert (data["train"], data["val"]) == (1348, 449)
    assert report["choice"]["target"] in targets
    assert (tmp_path / "quickstart" / "report.html").stat().st_size < 5_000_000
