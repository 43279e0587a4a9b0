"""The page of student families says which fall short, of what, and by which operator."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import families
from export.targets import FORMATS


def result(name: str, int8: float = 0.5, bare: float = 1.0, delegated: int = 1, outside: tuple[str, ...] = ()) -> dict:
    partitions = {"delegated": delegated, "outside": list(outside)}
    return {
        "family": name, "size": 224, "parameters": 1_500_000,
        "files": {p: {"bytes": 1, "partitions": partitions, "milliseconds": 2.0} for p in families.PRECISIONS},
        "to_fp32": dict.fromkeys(families.PRECISIONS, int8), "to_bare": {"fp32": 1.0, "int8": bare},
        "device": {"cpu": "a CPU", "cores": 2, "machine": "x"}, "versions": {"ai-edge-litert": "2.3"},
    }  # fmt: skip


def test_a_family_that_falls_short_is_named_with_the_reason():
    good = families.markdown([result("good")])
    assert "All 1 reach it." in good and "| good | 1.5 M | 2.00 | 2.00 | 0.50 | 1, 1 |" in good
    page = families.markdown([
        result("good"), result("slow", int8=0.61), result("heavy", bare=1.03),
        result("split", delegated=3, outside=("TRANSPOSE", "TRANSPOSE", "GELU")),
    ])  # fmt: skip
    assert "slow (int8 at 0.61); heavy (int8 image at 1.030); " in page
    assert "split (int8 in 3 (2 TRANSPOSE and 1 GELU outside) partitions)" in page


def test_it_measures_every_litert_precision():
    # int8+fp is int8, unless a student's accuracy asks for more.
    assert set(families.PRECISIONS) == set(FORMATS["litert"].precisions) - {"int8+fp"}


@pytest.mark.slow
def test_a_family_is_measured(monkeypatch):
    for package in FORMATS["litert"].needs:
        pytest.importorskip(package)
    monkeypatch.setattr(families, "LOADS", 1)
    found = families.measure("mobilenetv2_035", 32, 0.2)
    assert found["files"]["int8"]["partitions"] == {"delegated": 1, "outside": []}
    assert found["to_fp32"]["fp32"] == 1.0 and found["files"]["fp32"]["milliseconds"] > 0
    assert 0.2 < found["to_bare"]["fp32"] < 5 and np.isfinite(list(found["to_fp32"].values())).all()
