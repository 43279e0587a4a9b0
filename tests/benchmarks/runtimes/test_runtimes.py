"""Runtimes beside the usual ones: they run the same files, and the gate keeps them apart."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from attar.benchmarks import runtimes
from attar.benchmarks.latency import measure
from attar.benchmarks.latency import session as bench_session
from attar.benchmarks.latency.measure import bench
from attar.benchmarks.latency.peak import convolutions
from attar.benchmarks.latency.session import Tracking, measurement
from attar.benchmarks.report.report import judgements_table, records_table
from attar.benchmarks.runtimes import (
    RUNTIMES,
    Described,
    chosen,
    coreml,
    litert,
    litert_compiled,
    onnx,
    others,
    runtime_for,
    some_image,
)
from attar.errors import InputError
from attar.export.runners.coreml import COMPUTE_UNITS
from attar.extras import require


def test_a_runtime_is_chosen_by_format_or_by_name() -> None:
    assert chosen("litert") == ("litert",) and chosen("onnx") == ("onnx",) and chosen("pdf") == ()
    assert chosen("litert", "tensorflow") == ("tensorflow",) and chosen("onnx", "tensorflow") == ()
    assert chosen("tensorflow") == ()  # no format
    assert ("coreml" in RUNTIMES) == (sys.platform == "darwin")
    assert len({runtime_for(name).NAME for name in ("litert", *others())}) == 1 + len(others())


def test_the_compiled_model_computes_what_the_interpreter_does(tmp_path: Path) -> None:
    path = tmp_path / "probe.tflite"
    path.write_bytes(convolutions(integer=True))
    compiled, interpreted = litert_compiled.load(str(path), 1), litert.load(str(path), 1)
    assert compiled.shape == interpreted.shape
    image = some_image(compiled.shape).view(np.int8)
    answers = []
    for session in (compiled, interpreted):
        session.set_input(image)
        session.infer()
    answers = [compiled._outputs[0].read(image.size, np.int8), interpreted._interpreter.tensor(_output(interpreted))()]
    assert np.array_equal(answers[0], answers[1].ravel()) and answers[0].std() > 1
    compiled.close()


def _output(session: litert.LiteRTRunner) -> int:
    return int(session._interpreter.get_output_details()[0]["index"])


def test_bench_in_another_runtime(small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = tmp_path / "lab.sqlite"
    how: dict[str, Any] = {"seconds": 0.1, "output": tmp_path, "runtime": "litert-compiled"}
    (record,) = measurement(small.exports, Tracking(lab, tag="v1"), **how).records
    assert (record.target, record.runtime["name"]) == ("litert:fp32", litert_compiled.NAME) and record.operators
    assert "onnx-fp32.onnx: not measured. litert-compiled does not run it." in capsys.readouterr().err
    (judgement,) = measurement(small.exports, Tracking(lab, against="v1"), **how).judgements
    assert judgement.way == "side by side" and 0.2 < judgement.ratio.value < 5
    with pytest.raises(InputError, match="measured in LiteRT CompiledModel"):
        measurement(small.exports, Tracking(lab, against="v1"), seconds=0.1, output=tmp_path)


def test_a_runtime_that_there_is_not(small: Any) -> None:
    with pytest.raises(InputError, match="Did you mean"):
        bench(small.exports, runtime="litert-compield")


@pytest.mark.optional
def test_tensorflow_computes_what_litert_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attar.export.tflite import evaluators

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    if not evaluators.has_tensorflow():
        pytest.skip("tensorflow is not installed")
    path = tmp_path / "probe.tflite"
    path.write_bytes(convolutions(integer=True))
    sessions = [runtime_for("tensorflow").load(str(path), 1), litert.load(str(path), 1)]
    for session in sessions:
        session.set_input(some_image(session.shape).view(np.int8))
        session.infer()
    first, second = (each._interpreter.get_tensor(_output(each)) for each in sessions)
    assert np.abs(first.astype(int) - second).max() <= 1 and first.std() > 1
    assert runtime_for("tensorflow").version() != "unknown"


# --- Core ML's plan: coremltools' own classes; the Mac's side of them is stood in for --------------


class Told:
    """What Core ML answers on a Mac, by an operation's name."""

    def __init__(self, structure: Any, costs: dict[str, float], devices: dict[str, str]) -> None:
        self.model_structure, self._costs, self._devices = structure, costs, devices
        self._plan, self._device = (
            require(f"coremltools.models.{name}") for name in ("compute_plan", "compute_device")
        )

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        cost = self._costs.get(operation.operator_name)
        return None if cost is None else self._plan.MLComputePlanCost(cost)

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        name = self._devices.get(operation.operator_name)
        if name is None:
            return None
        kind = getattr(self._device, f"ML{name}ComputeDevice")
        device = kind.__new__(kind)  # its constructor asks for Core ML's own object
        return self._plan.MLComputePlanDeviceUsage(device, [device])


def told(costs: dict[str, float], devices: dict[str, str], program: bool = True) -> Any:
    module = require("coremltools.models.compute_plan")

    def operation(name: str, *blocks: Any) -> Any:
        output = module.MLModelStructureProgramNamedValueType(f"{name}_0", module.MLModelStructureProgramValueType())
        return module.MLModelStructureProgramOperation({}, name, [output], list(blocks), None)

    inner = module.MLModelStructureProgramBlock([], [operation("relu")], ["relu_0"])
    outer = [operation("const"), operation("conv"), operation("cond", inner), operation("softmax")]
    block = module.MLModelStructureProgramBlock([], outer, ["softmax_0"])
    functions = {"main": module.MLModelStructureProgramFunction([], block)}
    made = module.MLModelStructureProgram(functions) if program else None
    plan = module.MLComputePlan.__new__(module.MLComputePlan)
    plan.__proxy__ = Told(module.MLModelStructure(None, made, None), costs, devices)
    return plan


def test_a_plan_tells_each_operators_estimated_share_and_device() -> None:
    plan = told({"conv": 0.7, "relu": 0.2, "softmax": 0.1}, {"conv": "NeuralEngine", "relu": "GPU", "cond": "CPU"})
    assert coreml.operators_of(plan) == [
        {"name": "conv_0", "operator": "conv", "share": 0.7, "device": "NeuralEngine"},
        {"name": "relu_0", "operator": "relu", "share": 0.2, "device": "GPU"},
        {"name": "softmax_0", "operator": "softmax", "share": 0.1, "device": None},
        {"name": "cond_0", "operator": "cond", "share": None, "device": "CPU"},
    ]
    assert coreml.operators_of(told({}, {}, program=False)) == []


def test_core_ml_files_run_on_each_compute_unit(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT stands in for Core ML: what is tested is that units are measured, held apart and compared one by one."""
    units = ("coreml-cpu", "coreml-gpu")
    monkeypatch.setattr(runtimes, "chosen", lambda format, other=None: units if format == "onnx" else ())
    for module in (measure, bench_session):
        monkeypatch.setattr(module, "chosen", runtimes.chosen)

    def slow(path: str, threads: int) -> Any:
        session = onnx.load(path, threads)
        plain = session.infer
        monkeypatch.setattr(session, "infer", lambda: (time.sleep(0.004), plain()))
        return session

    planned: list[Any] = [{"name": "conv_0", "operator": "conv", "share": 1.0, "device": "GPU"}]
    for name in units:
        load = slow if name == "coreml-gpu" else onnx.load
        stand_in = SimpleNamespace(NAME=f"stand-in {name}", version=onnx.version, load=load)
        monkeypatch.setattr(runtimes, name.replace("-", "_"), stand_in, raising=False)
        place = f"attar.benchmarks.runtimes:{name.replace('-', '_')}"
        monkeypatch.setitem(RUNTIMES, name, Described(place, "onnx"))
    monkeypatch.setattr(runtimes.coreml_gpu, "plan", lambda path: planned, raising=False)  # type: ignore[attr-defined]
    monkeypatch.setattr(measure, "_cold_starts", lambda *_: [{"load": 1, "first": 1, "peak_memory": 1}])
    lab = tmp_path / "lab.sqlite"
    first = measurement(small.exports, Tracking(lab, tag="v1"), seconds=0.1, output=tmp_path)
    assert [each.key for each in first.records] == [("onnx:fp32", f"stand-in {name}") for name in units]
    assert [each.conditions.get("plan") for each in first.records] == [None, planned]
    second = measurement(
        small.exports, Tracking(lab, against="v1", fail_if=("p50 > 9x",)), seconds=0.1, output=tmp_path
    )
    assert [each.runtime for each in second.judgements] == [f"stand-in {name}" for name in units]
    assert all(0.2 < each.ratio.value < 5 and each.way == "side by side" for each in second.judgements)
    terminal = Console(width=120, record=True, file=io.StringIO())
    terminal.print(records_table(second), judgements_table(second.judgements))
    assert terminal.export_text().count("stand-in coreml-gpu") == 3  # a row of each table, and the caption


def test_each_compute_unit_is_a_runtime_of_its_own() -> None:
    ct = require("coremltools")
    units = [resolve_name(each.place) for each in runtimes.COREML.values()]
    assert all(ct.ComputeUnit[each.unit] for each in units)
    assert {each.unit for each in units} == set(COMPUTE_UNITS) and len({each.NAME for each in units}) == 4
    assert all(isinstance(each, runtimes.Planner) for each in units)


def test_core_mls_runner_runs_its_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    kind = SimpleNamespace(imageType=SimpleNamespace(height=6, width=4))
    spec = SimpleNamespace(description=SimpleNamespace(input=[SimpleNamespace(name="image", type=kind)]))
    model = SimpleNamespace(get_spec=lambda: spec, predict=given.append)
    monkeypatch.setattr(require("coremltools").models, "MLModel", lambda path, compute_units: model)
    session = coreml.CPU_ONLY.load("made elsewhere.mlpackage", 1)
    assert session.shape == (1, 6, 4, 3)
    session.set_input(some_image(session.shape))
    session.infer()
    assert np.array_equal(np.asarray(given[0]["image"]), some_image(session.shape)[0])
