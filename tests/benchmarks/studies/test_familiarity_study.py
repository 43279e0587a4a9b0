"""The study of familiarity's default: what it holds out, and the rule that its tables follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from attar.benchmarks.studies.familiarity import RECORD, ROOT, SOURCES, TARGETS, prepared, whole_page
from attar.benchmarks.studies.familiarity_page import best, page
from attar.data.photos import DataSpec, read_photos
from attar.files import read_json, sha256
from attar.students.familiarity import SCORES
from attar.students.familiarity.scores import DEFAULT

TARGET = "litert:fp32"


def student(**near: float) -> dict[str, Any]:
    """A student with one file per score, by its AUROC on the classes held out; far photos are always told."""

    def figures(auroc: float) -> dict[str, Any]:
        held = {"kind": "near", "images": 9, "auroc": auroc, "low": auroc - 0.1, "high": auroc + 0.1, "fpr95": 0.25}
        return {"held": held, "noise": {**held, "kind": "drawn", "auroc": 1.0, "fpr95": 0.0}}

    scores = {name: {"files": {TARGET: figures(value)}, "failed": {}} for name, value in near.items()}
    return {"top1": 0.9, "images": 30, "held": ["a"], "scores": scores}


def recorded(students: dict[str, Any]) -> dict[str, Any]:
    return {"students": students, "machine": {"cpu": "a processor", "cores": 2}}


def test_each_source_counts_the_same_however_many_seeds_it_has() -> None:
    many = {f"digits {seed}": student(one=0.9, two=0.8) for seed in range(4)}
    assert best({**many, "han 0": student(one=0.5, two=0.7)}, ("one", "two"), TARGET) == "two"
    assert best({**many, "han 0": student(one=0.5, two=0.59)}, ("one", "two"), TARGET) == "one"


def test_a_file_that_failed_is_said_and_rules_its_score_out() -> None:
    students = {"digits 0": student(one=0.9, two=0.4)}
    students["digits 0"]["scores"]["one"] = {"files": {}, "failed": {TARGET: "it was broken"}}
    assert best(students, ("one", "two"), TARGET) == "two"
    assert best(students, ("one",), TARGET) is None
    text = page(recorded(students), ("one", "two"), (TARGET,))
    assert "| one | failed | 0.0 |" in text and "| one | 1 of 1 |" in text and "| two | 0 of 1 |" in text


def test_the_interval_is_students_over_seeds() -> None:
    values = [0.80, 0.84, 0.91]
    text = page(
        recorded({f"digits {seed}": student(one=value) for seed, value in enumerate(values)}), ("one",), (TARGET,)
    )
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert f"| one | 85.0 [{100 * low:.1f}, {100 * high:.1f}] / 25 | 85.0 |" in text
    assert "`default` is `one`." in text and "3 seeds" in text


def test_one_seed_has_the_interval_over_photos() -> None:
    assert "| one | 80.0 [70.0, 90.0] / 25 |" in page(recorded({"digits 0": student(one=0.8)}), ("one",), (TARGET,))


def test_the_page_and_the_default_are_what_is_recorded() -> None:
    record = read_json(RECORD)
    assert (ROOT / "docs" / "familiarity.md").read_text(encoding="utf-8") == whole_page()
    assert whole_page().startswith(page(record, tuple(SCORES), TARGETS))
    assert best(record["students"], tuple(SCORES), TARGETS[0]) == DEFAULT


@pytest.mark.slow
def test_classes_that_are_held_out_are_in_no_photo_that_is_learned_from(tmp_path: Path) -> None:
    digits, folder = SOURCES[0], tmp_path / "digits-0"
    held = prepared(digits, 0, tmp_path, folder)
    photos = read_photos(DataSpec(str(folder / "photos")))
    assert len(held) == 3 and {*held, *photos.labels} == {*map(str, range(10))} and len(photos.labels) == 7
    assert {each.name for each in (folder / "held").iterdir()} == {*held}
    own = {sha256(photo.path) for photo in (*photos.train, *photos.val)}
    assert not own & {sha256(path) for path in (folder / "held").rglob("*.png")} and len(photos.val) > 200
    assert prepared(digits, 1, tmp_path, tmp_path / "digits-1") != held
