"""What is known of students on phones: which files of which were made, and ran as their student computes.

`attar.benchmarks.studies.families` writes the record; docs/support.md shows all of it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

RECORD = Path(__file__).with_name("tested.json")

TARGETS = {
    "LiteRT": ("litert:fp32", "litert:int8"),
    "Core ML": ("coreml:fp16",),
    "ONNX": ("onnx:fp32", "onnx:int8"),
    "NPU": ("qnn:fp16", "qnn:int8", "qnn:w8a16"),
    "GPU": ("litert:fp32", "litert:int8"),
}
"""Where a student runs -> the files that were tried there."""

YES, PARTLY, NO, UNTESTED = "yes", "partly", "no", "untested"


@lru_cache
def tested() -> dict[str, dict[str, Any]]:
    """timm name -> its entry in the record."""
    if not RECORD.is_file():
        return {}
    rows: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))["students"]
    return {name: row for name, row in rows.items() if name == row["student"]}


def where_it_runs(name: str) -> dict[str, dict[str, str]]:
    """Of a timm model: place -> file -> `yes`, `untested`, or why it does not run there or not whole.

    A reason begins with "no: " or "partly: ".
    """
    row = tested().get(name.partition(".")[0])
    return {
        place: {target: _of_target(row, place, target) if row else UNTESTED for target in targets}
        for place, targets in TARGETS.items()
    }


def summary(files: dict[str, str]) -> str:
    """Of one place, in a word: `yes` if every file runs there whole, `no` if none does."""
    words = {text.partition(":")[0] for text in files.values()}
    return words.pop() if len(words) == 1 else PARTLY


def _of_target(row: dict[str, Any], place: str, target: str) -> str:
    if target not in row["files"]:
        return f"{NO}: {row['reasons'].get(target, 'it was not made')}"
    if place != "GPU":
        return YES
    on_gpu = row["gpu"][target]
    if "reason" in on_gpu:
        return f"{NO}: {on_gpu['reason']}"
    return f"{PARTLY}: {on_gpu['remark']}" if "remark" in on_gpu else YES
