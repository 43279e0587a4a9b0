"""The page of students and where they run: no cell is empty, every "no" has its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from attar.benchmarks.studies import families
from attar.benchmarks.studies.families_page import page
from attar.students import tested
from attar.students.about import about_students, remarks
from attar.students.families import FAMILIES, family_of


def row(student: str = "mobilenetv2_100", **more: Any) -> dict[str, Any]:
    """As `families.measured` gives it."""
    npu = {"Snapdragon NPU": {"agreement": 0.97, "images": 16, "evaluator": "an emulator"}}
    whole = {"delegated": 1, "outside": []}
    files = {
        target: {
            "bytes": 1000,
            "partitions": whole if target.startswith("litert") else None,
            "agreement": 0.995,
            "images": 174 if target.startswith("qnn") else 200,
            "remark": "",
            "others": npu if target.startswith("onnx") else {},
        }
        for target in families.TARGETS
    }
    entry = {
        "key": "k",
        "student": student,
        "family": family_of(student),
        "size": 96,
        "parameters": 3_000_000,
        "multiply_adds": 300_000_000,
        "at": 224,
        "top1": 0.9,
        "agreement": {},
        "files": files,
        "gpu": {target: {"agreement": 1.0, "images": 32, "operators": 70, "on_gpu": 70} for target in families.ON_GPU},
        "reasons": {},
        "device": {"cpu": "a CPU", "cores": 2},
        "versions": {"onnx": "1.23", "mlflow": "9", "ai-edge-litert": None},
    }
    return {**entry, **more}


def without(entry: dict[str, Any], target: str, reason: str) -> dict[str, Any]:
    files = {name: file for name, file in entry["files"].items() if name != target}
    gpu = {name: file for name, file in entry["gpu"].items() if name != target}
    return {**entry, "files": files, "gpu": gpu, "reasons": {target: reason}}


def written(rows: dict[str, Any]) -> str:
    return page(rows, families.TARGETS, families.ON_GPU)


def test_every_family_has_a_case_and_names_are_not_used_twice() -> None:
    assert {family_of(case.student) for case in families.CASES} == set(FAMILIES)
    assert len({case.name for case in families.CASES}) == len({case.key for case in families.CASES})


def test_no_cell_is_empty_and_what_is_missing_has_its_reason() -> None:
    partly = {"agreement": 1.0, "images": 32, "operators": 9, "on_gpu": 7, "remark": "WebGPU leaves 2 | of 9"}
    split = row("lcnet_100", gpu={"litert:fp32": partly, "litert:int8": {"reason": "takes none"}})
    split["files"]["litert:int8"]["partitions"] = {"delegated": 2, "outside": ["MEAN", "MEAN", "SUM"]}
    rows = {
        "mobilenetv2_100": row(),
        "lcnet_100": split,
        "tinynet_c": without(row("tinynet_c"), "litert:int8", "it <diverges>"),
        "resnet18": without(row("resnet18"), "onnx:int8", "it takes\ntwo lines"),
        "the quickstart's": row("mobilenetv4_conv_small_035"),
    }
    text = written(rows)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(cell.strip() for line in tables for cell in line.strip("|").split("|"))
    assert "5 students of 5 families" in text and "onnx 1.23." in text and "mlflow" not in text
    assert "Photos: 200; in the emulated NPU (`qnn:*`) 174." in text
    assert "| lcnet_100 | 2 | 2 MEAN, 1 SUM |" in text and "| tinynet_c | no file | no file |" in text
    assert "- tinynet_c, `litert:int8`: it &lt;diverges>" in text
    assert "- resnet18, `onnx:int8`: it takes two lines" in text
    assert "- lcnet_100, `litert:fp32` on the GPU: WebGPU leaves 2 / of 9" in text
    assert "| the quickstart's: mobilenetv4_conv_small_035 | 99.5" not in text  # its family comes first
    assert "| lcnet_100 | 97.0 | 97.0 | 100.0 | no | 7 of 9 | none |" in text
    assert "None: every file" in written({"mobilenetv2_100": row()})


@pytest.fixture
def record(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A record of three students in place of the package's."""
    partly = {"agreement": 1.0, "images": 32, "operators": 9, "on_gpu": 7, "remark": "WebGPU leaves 2 of 9"}
    rows = {
        "mobilenetv2_100": row(gpu={"litert:fp32": partly, "litert:int8": {"reason": "takes none"}}),
        "lcnet_100": without(row("lcnet_100"), "qnn:int8", "no such operator"),
        "the quickstart's": row("tinynet_c"),
    }
    monkeypatch.setattr(tested, "RECORD", tmp_path / "tested.json")
    (tmp_path / "tested.json").write_text(json.dumps({"students": rows}))
    tested.tested.cache_clear()
    yield
    tested.tested.cache_clear()


def test_what_attar_students_says_is_what_the_record_says(record: None) -> None:
    mobilenet, lcnet, tiny = about_students(["mobilenetv2_100", "lcnet_100", "tinynet_c"])
    words = [{place: tested.summary(files) for place, files in each.runs.items()} for each in (mobilenet, lcnet, tiny)]
    everywhere = dict.fromkeys(tested.TARGETS, "yes")
    assert words[0] == {**everywhere, "GPU": "partly"} and words[1] == {**everywhere, "NPU": "partly"}
    assert words[2] == dict.fromkeys(tested.TARGETS, "untested")  # the record has it as another's training only
    assert remarks([mobilenet, lcnet, tiny]) == [
        "mobilenetv2_100, litert:fp32 (GPU): partly: WebGPU leaves 2 of 9",
        "mobilenetv2_100, litert:int8 (GPU): no: takes none",
        "lcnet_100, qnn:int8 (NPU): no: no such operator",
    ]
    assert [each.name for each in about_students()] == ["mobilenetv2_100", "lcnet_100"]
