"""The study of many classes: what its table says of the answers that it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attar.benchmarks.studies import manyclasses
from attar.benchmarks.studies.answers import Answers
from attar.benchmarks.studies.manyclasses import ALONE, Job, markdown, measured

FACTS = {
    "classes": 3,
    "student": "mobilenetv3_small_100",
    "size": 64,
    "epochs": 20,
    "trained_on": 60,
    "parameters": 1_200_000,
}


def recorded(folder: Path, answers: dict[Job, np.ndarray], **about: object) -> Answers:
    record = Answers(folder / "answers.json")
    for job, right in answers.items():
        record.put(job.name, job.key, right, **FACTS, **about)
    return record


def test_heads_are_held_against_the_first_and_their_integer_files_stand_beside(tmp_path: Path) -> None:
    jobs = [Job("heads", name, 1000, seed) for seed in (0, 1) for name in ("dwsconv", "pooled")]
    right = {"dwsconv": np.tile([1, 0], 30), "pooled": np.ones(60)}
    record = recorded(
        tmp_path, {job: right[job.variant] for job in jobs}, int8_bytes=1_500_000, int8_top1=0.75, teacher_top1=None
    )
    results = measured(record, jobs)
    assert [row["top1"] for row in results["rows"]] == [[0.5, 0.5], [1.0, 1.0]]
    assert results["rows"][1]["gain"] == 0.5 and results["rows"][1]["gain_interval"][0] > 0.3
    table = markdown(results)
    assert "| pooled | 100.0 (100.0, 100.0) | +50.0 [" in table and "| 1.20 | 1.50 | 75.0 |" in table
    assert "3 classes, 60 training photos" in table and "Teacher" not in table


def test_the_thirds_are_those_of_the_photos_in_their_order(tmp_path: Path) -> None:
    jobs = [Job("teachers", name, 1000, 0) for name in (ALONE, "kd")]
    right = {ALONE: np.repeat([1, 0, 0], 20), "kd": np.repeat([1, 1, 0], 20)}
    record = recorded(tmp_path, {job: right[job.variant] for job in jobs}, teacher_top1=0.9)
    results = measured(record, jobs)
    assert [row["thirds"] for row in results["rows"]] == [[1, 0, 0], [1, 1, 0]]
    assert "| 100.0, 100.0, 0.0 |" in markdown(results) and "Teacher: 90.0%" in markdown(results)


def test_validation_photos_stand_in_the_order_of_their_characters_frequency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jieba")
    from attar.data.han import source

    folder = source.write(tmp_path, {"classes": 12, "photos": 1, "val_photos": 2, "size": 16}, workers=1)
    photos = manyclasses._by_frequency({"path": str(folder), "val_fraction": 0.2, "seed": 0})
    labels = manyclasses.read_photos(str(folder)).labels
    shown = [labels[photo.label] for photo in photos]
    ranked = [each.character for each in source.chosen(source.HanSpec(classes=12), source.installed())]
    assert shown == [character for character in ranked for _ in range(2)] and shown != sorted(shown)


def test_a_head_or_method_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["manyclasses", "heads", "--output", str(tmp_path), "--variant", "poled"])
    with pytest.raises(SystemExit):
        manyclasses.main()
    assert "'poled': choose one of dwsconv, stock" in capsys.readouterr().err
