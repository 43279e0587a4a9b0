"""Operators are timed by the runtimes' own profilers: of known files they find what is known of them."""

from __future__ import annotations

import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from attar.benchmarks.latency.op_profile import RUNS, NotProfiled, kinds, middle, profile_of, shares, summarized
from attar.benchmarks.latency.peak import LAYERS, convolutions
from attar.benchmarks.latency.record import Record
from attar.benchmarks.report.report import operators_table
from attar.benchmarks.runtimes import Profiled, litert, some_image
from attar.benchmarks.runtimes.litert_profile import named
from attar.benchmarks.runtimes.onnx import profiled
from attar.cli import app
from helpers.familiar import familiar_exports


def made() -> Record:
    return Record(
        target="litert:int8",
        file="a.tflite",
        sha256="ab",
        bytes=7,
        runtime={"name": "LiteRT", "version": "2"},
        device={},
        threads=1,
        measured="2026-01-01T00:00:00+00:00",
        warmup=10,
        samples=(5,),
        load=(5,),
        first=(7,),
        peak_memory=None,
        partitions=None,
    )


def row(operator: str, nanoseconds: float, name: str = "a") -> dict[str, Any]:
    return {"name": name, "operator": operator, "nanoseconds": nanoseconds}


def test_the_middle_half_passes_over_what_other_programs_did() -> None:
    assert middle([5, 1, 2, 3, 4, 1000, 3, 0]) == 3.0  # of 0 1 [2 3 3 4] 5 1000
    assert middle([7]) == 7.0


def test_a_profile_is_of_the_middle_of_every_operator() -> None:
    runs = [Profiled(100 + n, (row("CONV", 10 * n), row("ADD", 1, "b"))) for n in range(1, 5)]
    profile = summarized(runs)
    assert profile.operators == (row("CONV", 25.0), row("ADD", 1.0, "b")) and profile.runs == 4
    assert 101 <= profile.inference <= 102


def test_inferences_of_other_operators_are_no_profile() -> None:
    with pytest.raises(NotProfiled, match="not the same"):
        summarized([Profiled(9, (row("CONV", 1),)), Profiled(9, (row("ADD", 1),))])


def test_shares_and_kinds_add_up() -> None:
    operators = [row("CONV", 6), row("CONV", 2), row("ADD", 2)]
    assert shares(operators) == [0.6, 0.2, 0.2]
    assert kinds(operators) == [("CONV", 2, pytest.approx(0.8)), ("ADD", 1, pytest.approx(0.2))]
    assert shares([row("ADD", 0)]) == [0.0]


def test_four_convolutions_of_one_size_take_a_quarter_each(tmp_path: Path) -> None:
    path = tmp_path / "probe.tflite"
    path.write_bytes(convolutions(integer=True))
    session = litert.load(str(path), 1)
    session.set_input(some_image(session.shape).view(np.int8))
    for attempt in range(20):  # on a busy machine an operator now and then takes as long as several
        time.sleep(0 if attempt < 3 else 1)  # what disturbs it may end
        profile = profile_of("litert", path, 1)
        assert profile.runs == RUNS and len(profile.operators) == LAYERS
        taken = []
        for _ in range(100):
            start = time.perf_counter_ns()
            session.infer()
            taken.append(time.perf_counter_ns() - start)
        total = sum(each["nanoseconds"] for each in profile.operators)
        # The interpreter takes as long as the profiler tells. Medians of operators may add up to more than that of all.
        even = all(0.15 < share < 0.35 for share in shares(profile.operators)) and total <= 1.2 * profile.inference
        if even and 0.5 * min(taken) < total < 2 * median(taken):
            return
    pytest.fail(f"shares {[*shares(profile.operators)]}, {total} ns of {median(taken)}")


def test_every_layer_of_a_real_file_is_named(small: Any) -> None:
    record = small.records[0]
    assert record.operators == tuple(sorted(record.operators, key=lambda each: -each["nanoseconds"]))
    weighted = {each["name"] for each in record.operators if "DWConv" in each["operator"]}
    assert {"backbone.blocks.2.0.conv_dw", "head.depthwise"} <= weighted
    assert all("dw" in name or "depthwise" in name or "bn" in name for name in weighted)
    # Medians of a busy machine: each operator's own may be of another inference.
    assert 0 < sum(each["nanoseconds"] for each in record.operators) <= 1.5 * record.conditions["profile"]["inference"]


@pytest.mark.slow
def test_the_operators_of_a_second_output_are_told_too(shared: Path) -> None:
    profile = profile_of("litert", familiar_exports(shared) / "litert-fp32.tflite", 1)
    assert {"score"} == {each["name"] for each in profile.operators if "Sigmoid" in each["operator"]}


def test_operators_that_are_not_those_of_the_file_keep_their_numbers(small: Any) -> None:
    rows = [{"name": f"[{i}]", "operator": "Convolution (NHWC, F32) IGEMM", "nanoseconds": 1000} for i in range(2)]
    assert named(rows, small.exports / "litert-fp32.tflite") == rows


def test_onnx_runtime_tells_its_nodes(small: Any) -> None:
    record = small.records[1]
    assert {"Conv"} <= {each["operator"] for each in record.operators} and len(record.operators) > 50
    assert record.conditions["profile"]["runs"] == RUNS
    assert 0 < sum(each["nanoseconds"] for each in record.operators) <= 1.5 * record.conditions["profile"]["inference"]


def test_a_node_belongs_to_the_inference_in_whose_time_it_ran() -> None:
    def event(name: str, start: int, took: int, operator: str | None = None) -> dict[str, Any]:
        about = {"args": {"op_name": operator}, "cat": "Node"} if operator else {"args": {}, "cat": "Session"}
        return {"name": name, "ts": start, "dur": took, **about}

    events = [
        event("model_loading_uri", 0, 50),
        event("b_kernel_time", 130, 5, "Add"),
        event("a_kernel_time", 110, 20, "Conv"),
        event("a_fence_before", 109, 1, "Conv"),
        event("model_run", 100, 40),
        event("model_run", 200, 30),
        event("a_kernel_time", 205, 9, "Conv"),
    ]
    first, second = profiled(events)
    assert first == Profiled(40_000, (row("Conv", 20e3), row("Add", 5e3, "b")))
    assert second == Profiled(30_000, (row("Conv", 9e3),))


def test_a_file_that_cannot_be_profiled_is_told(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"TFL3 and then nothing")
    with pytest.raises(NotProfiled, match="CreateModelFromFile"):
        profile_of("litert", damaged, 1)
    with pytest.raises(NotProfiled, match="no profiler"):
        profile_of("tensorflow", damaged, 1)


def test_the_slowest_operators_are_shown() -> None:
    record = replace(
        made(),
        operators=tuple(row("CONV [x]", 1e6, f"layer {n}") for n in range(12)),
        conditions={"profile": {"inference": 15e6, "runs": 100}},
    )
    console = Console(width=100, record=True, file=StringIO())
    console.print(operators_table(record))
    text = console.export_text()
    assert "12 operators, 12.0 ms of the 15.0 ms" in text
    assert text.count("CONV [x]") == 11 and "2 others" in text and "100.0% CONV [x] (12)" in text


def test_bench_shows_them_when_asked(small: Any, tmp_path: Path) -> None:
    words = ["bench", str(small.exports), "--seconds", "0.1", "--output", str(tmp_path)]
    shown = CliRunner().invoke(app, [*words, "--operators"])
    assert shown.exit_code == 0
    assert "litert:fp32: " in shown.output and "onnx:fp32: " in shown.output and "By kind:" in shown.output
