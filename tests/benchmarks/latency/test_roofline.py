"""What a file has to do is counted as by hand, the cold_starts are files that compute, and bounds follow from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attar.benchmarks.latency.peak import CHANNELS, LAYERS, SIDE, Rates, convolutions, copy_rate, rates
from attar.benchmarks.latency.roofline import Floor, floor, floor_of, floors_of
from attar.benchmarks.latency.work import Operator, work_of
from attar.benchmarks.report.report import render
from attar.extras import require

MACS = LAYERS * SIDE * SIDE * CHANNELS * CHANNELS


@pytest.mark.parametrize("integer", [False, True])
def test_the_probe_has_the_work_that_it_is_divided_by(integer: bool, tmp_path: Path) -> None:
    path = tmp_path / "probe.tflite"
    path.write_bytes(convolutions(integer))
    operators = work_of(path)
    assert [each.kind for each in operators] == ["CONV_2D"] * LAYERS
    assert sum(each.macs for each in operators) == MACS
    assert all(each.integer == integer for each in operators)
    size = 1 if integer else 4
    assert operators[0].bytes == size * (2 * SIDE * SIDE * CHANNELS + CHANNELS * CHANNELS) + 4 * CHANNELS


@pytest.mark.parametrize("integer", [False, True])
def test_the_probe_computes_what_numpy_does(integer: bool, tmp_path: Path) -> None:
    interpreter = require("ai_edge_litert.interpreter").Interpreter(model_content=convolutions(integer))
    interpreter.allocate_tensors()
    (given,), (made_of,) = interpreter.get_input_details(), interpreter.get_output_details()
    rng = np.random.default_rng(0)
    pixels = rng.integers(-100, 100, given["shape"])
    image = pixels.astype(np.int8) if integer else (pixels / 100).astype(np.float32)
    interpreter.set_tensor(given["index"], image)
    interpreter.invoke()
    expected = (pixels * 0.05 if integer else image).astype(np.float64)
    draws = np.random.default_rng(0)
    for _ in range(LAYERS):
        values = draws.integers(-127, 128, (CHANNELS, 1, 1, CHANNELS))[:, 0, 0, :]
        expected = expected @ (values * 0.001 if integer else values / 1270).T
        if integer:
            expected = np.clip(np.rint(expected / 0.05), -128, 127) * 0.05
    answer = interpreter.get_tensor(made_of["index"]) * (0.05 if integer else 1.0)
    assert np.abs(answer - expected).max() <= (0.2 if integer else 1e-3 * np.abs(expected).max())


def test_rates_are_those_of_a_real_machine() -> None:
    best = rates(1)
    assert 1e8 < best.float_macs < 1e13 and 1e8 < best.int8_macs < 1e14
    assert rates(1) is best  # measured once
    assert 1e7 < copy_rate(1 << 16) < 1e13


def test_work_of_a_real_file(small: Any) -> None:
    operators = work_of(small.exports / small.records[0].file)
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= {each.kind for each in operators}
    depthwise = next(each for each in operators if each.kind == "DEPTHWISE_CONV_2D")
    assert 0 < depthwise.macs < sum(each.macs for each in operators)
    assert not any(each.macs for each in operators if each.kind in ("ADD", "MUL", "MEAN", "DEQUANTIZE"))


@pytest.mark.parametrize(
    ("macs", "moved", "bound"), [(900_000, 1, "compute"), (1, 900_000, "memory"), (100_000, 100_000, "overhead")]
)
def test_what_bounds_a_file(macs: int, moved: int, bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attar.benchmarks.latency.roofline.copy_rate", lambda size: 1e9)
    work = [Operator("a", "CONV_2D", macs, moved, False), Operator("b", "ADD", 0, 0, True)]
    least = floor("litert:int8", work, Rates(float_macs=1e9, int8_macs=1e12), 1.0)
    assert least.bound == bound and least.latency == 1.0
    assert least.share == pytest.approx(max(macs, moved) / 1e6)
    assert "multiply-adds" in str(least) and least.to_json()["bound"] == bound


def test_integers_count_at_their_own_rate() -> None:
    work = [Operator("a", "CONV_2D", 1_000_000, 1, True)]
    least = floor("litert:int8", work, Rates(float_macs=1e9, int8_macs=4e9), 1.0)
    assert least.compute == pytest.approx(0.25)


def test_other_formats_have_no_floor(tmp_path: Path) -> None:
    assert floor_of("onnx:fp32", tmp_path / "a.onnx", 1, 1.0) is None


def test_records_of_litert_files_have_a_floor(small: Any) -> None:
    (least,) = floors_of(small.records)
    assert least.target == "litert:fp32" and 0 < least.share < 2
    assert least.latency == pytest.approx(small.records[0].percentiles["p50"] / 1e6)
    assert Floor.from_json(least.to_json()) == least
    page = render(small.comparison)
    assert "Where the time goes" in page and page.count("Explained</th>") == 1
    assert small.comparison.row("litert:fp32").latency.floor == least
