"""The comparison's figures against the same figures computed another way, and input that does not fit."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from attar import students, teachers
from attar.benchmarks.report.compare import _readiness, compare
from attar.benchmarks.report.comparison import Comparison, Interval, Row
from attar.benchmarks.report.html import render
from attar.benchmarks.report.predictions import FOLDER
from attar.benchmarks.report.recommend import Needs, choose
from attar.benchmarks.report.report import terminal_table, write_report
from attar.benchmarks.report.summary import headline, markdown
from attar.data.photos import labels_of, load_pixels
from attar.errors import InputError
from attar.export.manifest import read_manifest, write_manifest
from attar.metrics import reliability
from attar.readiness import judged


@torch.no_grad()
def answers(small: Any, kind: str) -> np.ndarray:
    bundle, load = (small.teacher, teachers.load) if kind == "teacher" else (small.student, students.load)
    pixels = load_pixels(small.photos.val, bundle.preprocessing)
    return torch.softmax(load(bundle)(torch.from_numpy(pixels).permute(0, 3, 1, 2)), 1).numpy()


def test_accuracy_agreement_and_difference(small: Any) -> None:
    labels = labels_of(small.photos.val)
    teacher, student = answers(small, "teacher").argmax(1), answers(small, "student").argmax(1)
    row = small.comparison.row("student")
    assert row.top1.value == pytest.approx(np.mean(student == labels))
    assert row.agreement == pytest.approx(np.mean(student == teacher))
    assert row.difference is None
    expected = np.mean(teacher == labels) - np.mean(student == labels)
    difference = small.comparison.row("teacher").difference
    assert difference.value == pytest.approx(expected)
    assert difference.low <= expected <= difference.high


def test_groups_of_labels_have_their_own_accuracy(small: Any, tmp_path: Path) -> None:
    exports = Path(shutil.copytree(small.exports, tmp_path / "exports"))
    manifest = read_manifest(exports)
    levels = [{"names": ["round", "not"], "of": [0, 1, 1]}, {"names": ["all"], "of": [0, 0, 0]}]
    write_manifest(replace(manifest, data={**manifest.data, "hierarchy": levels}), exports)
    result = compare(exports, bundle=small.student, teacher=small.teacher, photos=small.photos, records=[])
    labels, first = labels_of(small.photos.val), np.array([0, 1, 1])
    for kind in ("teacher", "student"):
        near, far = result.row(kind).groups
        assert near.value == pytest.approx(np.mean(first[answers(small, kind).argmax(1)] == first[labels]))
        assert result.row(kind).top1.value <= near.value <= far.value == 1
        assert near.low <= near.value <= near.high
    assert result.levels == (2, 1) and Comparison.from_json(result.to_json()).levels == (2, 1)
    page = render(result)
    assert "Group 1" in page and "Group 2" in page and "one of 2 groups" in page
    assert small.comparison.levels == () and "Group 1" not in render(small.comparison)


def test_every_file_stands_in_the_table_with_its_latency(small: Any) -> None:
    rows = small.comparison.rows
    assert [row.name for row in rows] == ["teacher", "student", "litert:fp32", "onnx:fp32"]
    for row, measured in zip(rows[2:], small.records):
        assert row.latency.p50 == pytest.approx(np.median(measured.samples) / 1e6)
        assert row.difference.value == 0.0  # an fp32 file answers as its student does
    assert all(row.top5 is None for row in rows)
    assert any("top-5" in note for note in small.comparison.notes)


def test_a_phones_record_does_not_stand_for_this_machine(small: Any) -> None:
    phone = {"kind": "browser", "model": "Pixel 8", "cpu": None}
    slower = [replace(r, device=phone, samples=tuple(9 * s for s in r.samples)) for r in small.records]
    what = {"bundle": small.student, "teacher": small.teacher, "photos": small.photos}
    result = compare(small.exports, **what, records=[*small.records, *slower])
    assert [row.latency for row in result.rows] == [row.latency for row in small.comparison.rows]
    assert result.provenance["timed_on"] == small.records[0].device
    alone = compare(small.exports, **what, records=slower)
    assert all(row.latency is None for row in alone.rows) and alone.provenance["timed_on"] is None
    assert [device.name for device in alone.devices] == ["Pixel 8"] and alone.choice == alone.devices[0].choice
    assert write_report(alone, small.folder / "phone").is_file()


def test_photos_of_changed_classes_are_those_that_only_one_gets_right(small: Any) -> None:
    names, val = small.photos.labels, small.photos.val
    labels, teacher, student = labels_of(val), answers(small, "teacher"), answers(small, "student")
    hers, its = teacher.argmax(1) == labels, student.argmax(1) == labels  # an fp32 file answers as its student does
    assert small.comparison.compared == ("teacher", small.comparison.choice.target)
    rows = {row.label: row for row in small.comparison.changes}
    assert set(rows) == {names[c] for c in range(3) if (hers != its)[labels == c].any()}
    for label, row in rows.items():
        inside = labels == names.index(label)
        lost, won = np.flatnonzero(inside & hers & ~its), np.flatnonzero(inside & its & ~hers)
        assert (row.lost_count, row.won_count, row.images) == (len(lost), len(won), inside.sum())
        assert {example.photo for example in row.lost} <= {val[i].path for i in lost}
        assert bool(row.lost) == bool(len(lost))
        assert {example.photo for example in row.won} <= {val[i].path for i in won}
        assert row.change.value == pytest.approx(its[inside].mean() - hers[inside].mean())
        assert row.change.low <= row.change.value <= row.change.high
        surest = [example.file_confidence for example in row.lost]
        assert surest == sorted(surest, reverse=True)
        assert all(example.reference == label != example.file for example in row.lost)


def test_records_of_other_content_do_not_count(small: Any) -> None:
    strange = [replace(r, sha256="0" * 64) for r in small.records]
    result = compare(small.exports, bundle=small.student, teacher=small.teacher, photos=small.photos, records=strange)
    assert all(row.latency is None for row in result.rows)
    assert all("not measured" in row.latency_note for row in result.rows if row.kind == "file")
    assert "No latency" in " ".join(result.choice.reasons)


def test_stored_answers_are_used_and_a_damaged_store_only_costs_time(small: Any, tmp_path: Path) -> None:
    def again() -> Any:
        result = compare(small.exports, bundle=small.student, photos=small.photos, records=[], output=tmp_path)
        return result.rows

    rows = again()
    stored = sorted((tmp_path / FOLDER).iterdir())
    assert len(stored) == 3
    times = [path.stat().st_mtime_ns for path in stored]
    assert again() == rows
    assert [path.stat().st_mtime_ns for path in stored] == times
    for path in stored:
        path.write_bytes(path.read_bytes()[:40])
    assert again() == rows


def test_without_a_teacher(small: Any) -> None:
    result = compare(small.exports, bundle=small.student, photos=small.photos, limit=7)
    assert result.images == 7 and result.row("teacher") is None and result.compared[0] == "student"
    assert all(row.agreement is None for row in result.rows)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["images"] == 7


def test_photos_of_other_classes_are_refused(small: Any) -> None:
    with pytest.raises(InputError, match="classes"):
        compare(small.exports, bundle=small.student, photos=replace(small.photos, labels=("a", "b", "c")))


def test_another_student_is_refused(small: Any) -> None:
    with pytest.raises(InputError, match="another student"):
        compare(small.exports, bundle=replace(small.student, weights_sha256="0"), photos=small.photos)


def test_a_limit_of_no_photo_is_refused(small: Any) -> None:
    with pytest.raises(InputError, match="limit 0"):
        compare(small.exports, bundle=small.student, photos=small.photos, limit=0)


def test_reliability_of_known_answers() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    low, high = reliability(probabilities, np.array([0, 1, 1]), bins=10)
    assert (low.images, low.confidence, low.accuracy) == (1, pytest.approx(0.6), 1.0)
    assert (high.images, high.confidence, high.accuracy) == (2, pytest.approx(0.9), 0.5)


def file_row(base: Row, name: str, difference: float, p50: float | None, size: int = 10) -> Row:
    change = Interval(difference, difference, difference)
    latency = replace(base.latency, p50=p50) if base.latency and p50 else None
    return replace(base, name=name, about=name, bytes=size, latency=latency, difference=change)


def test_the_fastest_file_within_one_point_is_chosen(small: Any) -> None:
    base = small.comparison.row("litert:fp32")
    careful, quick, wrong = (
        file_row(base, "litert:fp32", 0.0, 2.0),
        file_row(base, "litert:int8", -0.01, 1.0),
        file_row(base, "onnx:int8", -0.011, 0.5),
    )
    assert choose([careful, quick, wrong]).target == "litert:int8"
    assert choose([careful, wrong]).target == "litert:fp32"
    assert "No file keeps within one point" in choose([wrong]).reasons[0]
    apple = file_row(base, "coreml:w8", 0.0, None, size=5)
    assert any("iPhone" in reason for reason in choose([careful, apple]).reasons)
    assert choose([apple]).target == "coreml:w8"
    assert choose([]).file is None


def test_few_photos_do_not_tell_one_point(small: Any) -> None:
    """One of twelve photos is no loss of 8.3 points, nor is it none: the interval decides, and the reason says so."""
    base = small.comparison.row("litert:fp32")
    careful, quick, wrong = (
        file_row(base, "litert:fp32", 0.0, 2.0),
        replace(file_row(base, "litert:int8", 0.0, 1.0), difference=Interval(-1 / 12, -0.25, 0.0)),
        replace(file_row(base, "onnx:int8", 0.0, 0.5), difference=Interval(-0.5, -0.75, -0.25)),
    )
    few = choose([careful, quick, wrong], images=12)
    assert few.target == "litert:int8" and "as far as so few photos can tell" in few.reasons[0]
    assert choose([careful, quick, wrong], images=500).target == "litert:fp32"
    assert "so few photos" not in choose([careful, wrong], images=12).reasons[0]
    assert "No file keeps within one point" in choose([wrong], images=12).reasons[0]


def test_no_report_recommends_a_file_of_a_student_at_chance(small: Any) -> None:
    figures = {"top1": 0.5, "top1_interval": [0.3, 0.7], "images": 12, "steps": 36}
    poor = judged({**figures, "majority": {"label": "elm", "share": 0.4}})
    comparison = replace(small.comparison, readiness=poor)
    why = "always answering 'elm' would be right on 40.0%"
    assert headline(comparison) == "Do not ship yet" and headline(small.comparison).startswith("Ship ")
    for text in (markdown(comparison), render(comparison).replace("&#39;", "'")):
        assert "Do not ship yet" in text and why in text and "36 steps" in text
        assert "Ship " not in text
    console = Console(width=300, file=io.StringIO())
    console.print(terminal_table(comparison))
    shown = " ".join(console.file.getvalue().split())  # the caption is wrapped
    assert f"Do not ship yet. {poor.reasons[0]}" in shown and "Take " not in shown
    assert Comparison.from_json(json.loads(json.dumps(comparison.to_json()))).readiness == poor


def test_a_comparison_judges_the_student_by_the_photos_at_hand(small: Any) -> None:
    row = small.comparison.row("student")
    labels = [small.photos.labels[photo.label] for photo in small.photos.val]
    poor = replace(row, top1=Interval(0.4, 0.2, 0.6))
    assert not _readiness([poor], small.student, labels).ready
    good = replace(row, top1=Interval(0.9, 0.8, 1.0))
    assert _readiness([good], small.student, labels).ready
    ahead = replace(good, name="teacher", kind="teacher", top1=Interval(1.0, 1.0, 1.0))
    behind = replace(row, top1=Interval(0.7, 0.6, 0.8))
    assert "30.0 points more" in _readiness([ahead, behind], small.student, labels).remarks[0]


def test_the_file_to_take_meets_what_was_asked_for(small: Any) -> None:
    base = small.comparison.row("litert:fp32")
    careful, quick, wrong = (
        file_row(base, "litert:fp32", 0.0, 3.0, 4_000_000),
        file_row(base, "litert:int8", -0.01, 1.0, 1_000_000),
        replace(file_row(base, "onnx:int8", -0.1, 0.5, 2_000_000), top1=Interval(0.1, 0.0, 0.2)),
    )
    rows = [careful, quick, wrong]
    assert choose(rows, Needs(max_ms=2.0)).target == "litert:int8"
    assert choose(rows, Needs(max_ms=2.0)).reasons[0] == "It meets what was asked for: at most 2.00 ms."
    assert choose(rows, Needs(max_mb=1.5)).target == "litert:int8"
    assert choose([careful, wrong], Needs(max_ms=3.0)).target == "litert:fp32"  # still within one point, if it can be
    assert choose([careful, wrong], Needs(max_ms=1.0)).target == "onnx:int8"
    assert choose(rows, Needs(min_top1=0.05)).target == "onnx:int8"  # it takes the place of the point
    assert choose(rows, Needs(min_top1=base.top1.value)).target == "litert:int8"


def test_what_no_file_meets_is_told_with_the_nearest(small: Any) -> None:
    base = small.comparison.row("litert:fp32")
    careful, untimed = file_row(base, "litert:fp32", 0.0, 3.0), file_row(base, "coreml:w8", 0.0, None)
    none = choose([careful, untimed], Needs(max_ms=2.0))
    assert none.file is None and none.reasons[0] == "No file meets at most 2.00 ms."
    assert any("it takes 3.00 ms, not 2.00 ms" in reason for reason in none.reasons)
    assert any("not measured here" in reason for reason in none.reasons)
    small_and_right = choose([careful, untimed], Needs(max_ms=2.0, max_mb=1e-6, min_top1=0.0))
    assert "weighs" in small_and_right.reasons[1]
