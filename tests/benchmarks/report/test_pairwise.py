"""Two models on the same photos, against figures computed another way."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from attar.benchmarks.predict import open_model
from attar.benchmarks.report.pairwise import compared, pair
from attar.errors import InputError
from helpers import warm

ROOT = Path(__file__).parents[3]
CLASSES = ("ash", "elm", "fir")


def test_the_figures_of_a_pair() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    first, second = (np.where(rng.random(300) < share, labels, (labels + 1) % 3) for share in (0.7, 0.85))
    names = [f"{i}.jpg" for i in range(300)]
    pair = compared(first, second, labels, CLASSES, names, ("a", "b"))
    won, lost = int(((second == labels) & (first != labels)).sum()), int(((second != labels) & (first == labels)).sum())
    assert (pair.won, pair.lost) == (won, lost)
    assert pair.p == pytest.approx(binomtest(won, won + lost).pvalue)
    assert pair.gain.value == pytest.approx((won - lost) / 300) and pair.gain.low > 0
    assert pair.verdict.startswith("b is better by")
    assert pair.agreement == pytest.approx((first == second).mean())
    assert [each.photo for each in pair.differences] == [names[i] for i in np.flatnonzero(first != second)]
    assert pair.differences[0].label == CLASSES[labels[np.flatnonzero(first != second)[0]]]


def test_a_model_against_itself_differs_nowhere() -> None:
    pair = compared(np.arange(3), np.arange(3), np.array([0, 1, 1]), CLASSES, ["a", "b", "c"], ("x", "y"))
    assert pair.differences == () and pair.p == 1.0 and pair.verdict.startswith("Neither")


def test_other_classes_are_refused_by_name(small: Any) -> None:
    model = open_model(small.student.path)
    other = replace(model, labels=("circle", "cross", "hexagon"))
    with pytest.raises(InputError, match="hexagon"):
        pair((model, other), small.photos, ("a", "b"))


def test_the_command_compares_a_student_with_its_files_and_its_teacher(small: Any, shapes: Path) -> None:
    def attar(*words: object) -> subprocess.CompletedProcess[str]:
        command = warm.attar("compare", *words, "--data", shapes)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    same = json.loads(attar(small.student.path, small.exports / "onnx-fp32.onnx", "--json").stdout)
    assert same["differences"] == [] and same["gain"]["value"] == 0
    said = attar(small.exports, small.teacher.path)
    assert said.returncode == 0, said.stderr
    assert "McNemar" in said.stdout and "…" not in said.stdout
    assert attar(small.student.path, small.teacher.path, "--max-ms", 5).returncode == 2
