"""The table of exporters: who agrees more often, with a paired interval, and a tool that failed."""

from __future__ import annotations

import numpy as np

from attar.benchmarks.studies.peers.export import markdown
from attar.metrics import paired_interval


def files(tool: str, differs: list[int]) -> list[dict]:
    row = {"tool": tool, "bytes": 2_000_000, "p50_ms": 2.0, "partitions": {"delegated": 1}}
    return [
        {**row, "precision": "fp32", "differs": []},
        {**row, "precision": "int8", "p50_ms": 1.0, "differs": differs},
    ]


def test_agreement_is_compared_on_the_same_photos() -> None:
    row = {
        "name": "one",
        "images": 100,
        "files": [*files("attar", [3, 4]), *files("timmx", [4, 5, 6, 7])],
        "errors": {"litert-torch": "no such | operator"},
    }
    ours, broken, theirs, absent = markdown({"machine": "a CPU", "images": 100, "families": [row]}).splitlines()[2:6]
    assert ours.endswith("| 98.0 |  |") and absent.startswith("| one | onnx2tf | no file |")
    assert broken.startswith("| one | litert-torch | no such / operator |")
    low, high = paired_interval(np.array([1, 1, 1, -1] + [0] * 96))
    assert theirs.endswith(f"| 96.0 | +2.0 [{100 * low:.1f}, {100 * high:.1f}] |")


def test_where_attar_has_no_file_nothing_is_compared() -> None:
    row = {"name": "one", "images": 100, "files": files("timmx", [4]), "errors": {"attar": "refused"}}
    table = markdown({"machine": "a CPU", "images": 100, "families": [row]})
    assert "| one | attar | refused |" in table and "| 0.50 |  | 1 | 2.00 | 99.0 |  |" in table
