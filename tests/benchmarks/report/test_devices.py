"""Which records count on which device, which way of running a file is its figure, and which file to take there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attar.benchmarks.latency.record import Record
from attar.benchmarks.report.comparison import Comparison, Interval, Needs, Row
from attar.benchmarks.report.devices import agrees, devices_of
from attar.benchmarks.report.pareto import points_of
from attar.benchmarks.report.sensitivity import FILE, sensitivity_of
from attar.errors import InputError

PIXEL = {"kind": "android", "model": "Google Pixel 8", "cpu": "Tensor G3", "soc": "Tensor G3", "os": "Android 14"}
HERE = {"cpu": "AMD EPYC", "os": "Linux 6", "cores": 2}
SAFARI = {"kind": "browser", "model": None, "cpu": None, "os": "iOS 18.1", "browser": "Safari 18.1", "cores": 4}
DIGESTS = {"a": "litert:fp32", "b": "litert:int8"}


def record(sha256: str, milliseconds: float, device: dict[str, Any] = HERE, **more: Any) -> Record:
    base = {
        "target": "another name",
        "file": "f.tflite",
        "sha256": sha256,
        "bytes": 7,
        "threads": 1,
        "warmup": 10,
        "runtime": {"name": "LiteRT", "version": "2"},
        "device": device,
        "measured": "2026-01-01T00:00:00+00:00",
        "samples": (int(1e6 * milliseconds),) * 40,
        "load": (5,),
        "first": (7,),
        "peak_memory": None,
        "partitions": None,
        "run": "r",
        "block": 5,
    }
    return Record(**{**base, **more})  # type: ignore[arg-type]


def row(name: str, top1: float = 0.9, size: int = 1000) -> Row:
    share, none = Interval(top1, top1, top1), Interval(0.0, 0.0, 0.0)
    return Row(name, "file", f"{name}.tflite", size, share, None, none, None, 0.0, (), None, "", None, "x")


ROWS = (row("litert:fp32", size=2000), row("litert:int8"))


def test_phones_come_first_and_each_has_its_own_choice() -> None:
    records = [record("a", 2, PIXEL), record("b", 1, PIXEL), record("a", 1), record("b", 3), record("b", 5, SAFARI)]
    devices = devices_of(records, DIGESTS, ROWS)
    names = ["Google Pixel 8", "iOS 18.1, Safari 18.1", "AMD EPYC"]
    assert [device.name for device in devices] == names
    assert [device.choice.target for device in devices] == ["litert:int8", "litert:int8", "litert:fp32"]
    assert devices[0].about == "Tensor G3, Android 14"


def test_the_last_record_of_a_runtime_counts_and_the_fastest_runtime_is_the_figure() -> None:
    gpu = {"name": "benchmark_model (GPU)", "version": "1", "accelerator": "gpu"}
    records = [record("a", 1, PIXEL), record("a", 4, PIXEL), record("a", 3, PIXEL, runtime=gpu), record("c", 9, PIXEL)]
    [device] = devices_of(records, DIGESTS, ROWS)
    assert sorted(each.latency.p50 for each in device.timings) == [3, 4]
    best = device.best("litert:fp32")
    assert best and best.way == "benchmark_model (GPU)"
    assert device.choice.reasons[-1] == "Measured by benchmark_model (GPU), faster than by LiteRT, 1 thread."


def test_a_file_that_answers_otherwise_there_is_not_taken() -> None:
    wrong = {"images": 4, "max_error": 0.5, "top1": 0.5}
    [device] = devices_of([record("a", 2, PIXEL), record("b", 1, PIXEL, agreement=wrong)], DIGESTS, ROWS)
    assert device.choice.target == "litert:fp32" and device.best("litert:int8") is None
    assert "litert:int8 by LiteRT, 1 thread does not answer there" in device.notes[0]


@pytest.mark.parametrize(
    ("agreement", "verdict"),
    [
        (None, None),
        ({"max_error": 0.019}, True),
        ({"max_error": 0.021}, False),
        ({"max_error": None}, False),
        ({"max_error": 0.019, "agrees": False}, False),
        ({"max_error": 0.5, "agrees": True}, True),
    ],
)
def test_whether_answers_agree(agreement: dict[str, Any] | None, verdict: bool | None) -> None:
    assert agrees(agreement) is verdict


def test_needs_hold_on_each_device() -> None:
    records = [record("a", 2, PIXEL), record("b", 1, PIXEL), record("a", 1), record("b", 0.5)]
    phone, here = devices_of(records, DIGESTS, ROWS, Needs(max_ms=0.7))
    assert phone.choice.file is None and phone.choice.reasons[0] == "No file meets at most 0.700 ms."
    assert here.choice.target == "litert:int8"


def test_two_phones_of_a_model_are_told_apart() -> None:
    twins = [record("a", 1, {**PIXEL, "serial": "1234abcd"}), record("a", 1, {**PIXEL, "serial": "5678abcd"})]
    assert {d.name for d in devices_of(twins, DIGESTS, ROWS)} == {"Google Pixel 8 (1234)", "Google Pixel 8 (5678)"}


def test_heat_and_a_closed_page_are_told() -> None:
    hot = record("a", 1, PIXEL, conditions={"thermal_status": [0, 2]})
    closed = record("a", 1, SAFARI, conditions={"ended": "the page went away"})
    assert [d.notes[-1][:12] for d in devices_of([hot, closed], DIGESTS, ROWS)] == ["It said that", "Its page was"]


def test_points_that_another_beats_in_all_three(small: Any) -> None:
    rows = (row("litert:fp32", 0.9, 2000), row("litert:int8", 0.9, 1000), row("onnx:fp32", 0.95, 3000))
    records = [record("a", 2), record("b", 1), record("c", 3)]
    devices = devices_of(records, {**DIGESTS, "c": "onnx:fp32"}, rows)
    it: Comparison = replace(small.comparison, rows=rows, devices=devices)
    assert [(point.row.name, point.best, point.chosen) for point in points_of(it, devices[0])] == [
        ("litert:int8", True, True),
        ("litert:fp32", False, False),
        ("onnx:fp32", True, False),
    ]


def test_a_kept_sensitivity_is_read_for_its_student_only_and_checked(small: Any, tmp_path: Path) -> None:
    kept = {
        "schema": 1,
        "student": small.student.fingerprint,
        "target": "litert:int8",
        "photos": 64,
        "whole": 0.5,
        "layers": [{"layer": "stem", "score": 0.25}],
    }
    (tmp_path / FILE).write_text(json.dumps(kept))
    sensitivity = sensitivity_of((), small.student, tmp_path)
    assert sensitivity and sensitivity.layers == ({"layer": "stem", "score": 0.25},) and sensitivity.whole == 0.5
    (tmp_path / FILE).write_text(json.dumps({**kept, "student": "another"}))
    assert sensitivity_of((), small.student, tmp_path) is None
    (tmp_path / FILE).write_text(json.dumps({**kept, "layers": [{"layer": "stem", "score": "NaN"}]}))
    with pytest.raises(InputError, match="--sensitivity"):
        sensitivity_of((), small.student, tmp_path)
