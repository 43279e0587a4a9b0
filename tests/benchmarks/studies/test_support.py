"""The page of students and targets: no cell is empty, and what falls short is named with its reason."""

from __future__ import annotations

import json
import shutil

import pytest

from attar.benchmarks.studies import support
from attar.export.manifest import FailedEntry, read_manifest, write_manifest
from attar.export.targets import every_target

TIMED = [str(target) for target in every_target() if target.format != "coreml"]


def result(name: str, int8: float = 0.5, bare: float = 1.0, delegated: int = 1, outside: tuple[str, ...] = ()) -> dict:
    whole = {"delegated": delegated, "outside": list(outside)}
    return {
        "family": name,
        "size": 224,
        "parameters": 1_500_000,
        "top1": 0.75,
        "reasons": {},
        "files": {
            str(target): {
                "bytes": 1_000_000,
                "partitions": whole if target.format == "litert" else None,
                "agreement": 0.985,
                "min_cosine": 0.99,
                "recovery": False,
            }
            for target in every_target()
        },
        "times": {
            "milliseconds": dict.fromkeys(TIMED, 2.0),
            "to_fp32": dict.fromkeys(TIMED, int8),
            "to_bare": {"litert:fp32": 1.0, "litert:int8": bare},
            "device": {"cpu": "a CPU", "cores": 2, "machine": "x"},
            "versions": {"ai-edge-litert": "2.3"},
            "load_average": [0.25, 1.5],
        },
    }


def cells(page: str) -> list[list[str]]:
    """The cells of every row of every table, but for the lines that only align."""
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in row] for row in rows]


def test_a_family_that_falls_short_is_named_with_the_reason():
    good = support.markdown([result("good")])
    assert "Load average while timing: 0.2 to 1.5." in good and "Not measured here: mobilenetv3_small_100, " in good
    assert "All 1 reach it." in good and "| good | 1.5 M | 2.00 | 2.00 | 0.50 | 1, 1 | 1.000, 1.000 |" in good
    page = support.markdown(
        [
            result("good"),
            result("slow", int8=0.61),
            result("heavy", bare=1.03),
            result("split", delegated=3, outside=("TRANSPOSE", "TRANSPOSE", "GELU")),
        ]
    )
    assert "slow (int8 at 0.610); heavy (litert:int8 image at 1.030); " in page
    assert "split (int8 in 3 (2 TRANSPOSE and 1 GELU outside) partitions)" in page


def test_no_cell_is_empty_and_a_file_that_is_missing_has_its_reason():
    broken = result("broken")
    for target in ("litert:int8", "coreml:w8a8", "executorch:fp32"):
        del broken["files"][target]
        broken["times"]["to_fp32"].pop(target, None)
        broken["times"]["milliseconds"].pop(target, None)
        broken["reasons"][target] = f"{target} | has\nits reason"
    page = support.markdown([result("good"), broken])
    assert all(cell for row in cells(page) for cell in row)
    assert page.count("| coreml:w8a8 | failed | failed | failed | failed | coreml:w8a8 / has its reason |") == 1
    assert "broken (no int8 file)" in page
    for target in every_target():
        assert page.count(f"| {target} |") == 3  # a column, and a row of each family


@pytest.mark.slow
def test_a_family_is_measured(small, tmp_path, monkeypatch):
    monkeypatch.setattr(support, "LOADS", 1)
    for part in ("student", "exports"):
        shutil.copytree(small.folder / part, tmp_path / part)
    described = json.loads((tmp_path / "student" / "bundle.json").read_text())
    described["metrics"] = {"top1": 0.5}
    del described["sha256"]
    (tmp_path / "student" / "bundle.json").write_text(json.dumps(described))
    measured = support.times(small.student, tmp_path, small.photos, 0.2)
    assert set(measured["milliseconds"]) == {"litert:fp32", "litert:fp32 bare", "onnx:fp32"}
    assert measured["to_fp32"] == {"litert:fp32": 1.0, "onnx:fp32": 1.0}
    assert 0.2 < measured["to_bare"]["litert:fp32"] < 5
    support.write_json(tmp_path / "times.json", measured)
    manifest = read_manifest(tmp_path / "exports")
    write_manifest(manifest.with_failure(FailedEntry("onnx:int8", "it was too hard")), tmp_path / "exports")
    whole = support.result(tmp_path)
    assert whole["reasons"]["onnx:int8"] == "it was too hard" and whole["parameters"] > 100_000
    assert whole["files"]["litert:fp32"]["partitions"] == {"delegated": 1, "outside": []}
    assert all(cell for row in cells(support.markdown([whole])) for cell in row)
