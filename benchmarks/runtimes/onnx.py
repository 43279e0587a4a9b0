"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attar.benchmarks.runtimes import Profiled, some_image
from attar.export.runners.onnx import OnnxRunner
from attar.extras import require
from attar.extras import version as installed

NAME = "ONNX Runtime (CPU)"
_KERNEL = "_kernel_time"


def version() -> str:
    """The installed version."""
    return installed("onnxruntime") or "unknown"


def preload() -> None:
    """Import the runtime's package."""
    require("onnxruntime")


def load(path: str, threads: int) -> OnnxRunner:
    """Read the file and optimize its graph."""
    return OnnxRunner(Path(path), threads)


def profile(path: str, threads: int, runs: int) -> list[Profiled]:
    """Profile some inferences of one random image; times are whole microseconds."""
    with TemporaryDirectory() as folder:
        runner = OnnxRunner(Path(path), threads, profile=Path(folder) / "profile")
        runner.set_input(some_image(runner.shape))
        for _ in range(runs):
            runner.infer()
        return profiled(json.loads(runner.end_profiling().read_text(encoding="utf-8")))


def named(rows: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The operators have the names that the graph gives them."""
    return list(rows)


def profiled(events: Sequence[dict[str, Any]]) -> list[Profiled]:
    """The inferences in the events of ONNX Runtime's profiler: a node belongs to the inference in whose time it ran."""
    inferences = sorted((each for each in events if each["name"] == "model_run"), key=lambda each: each["ts"])
    nodes = [each for each in events if each["cat"] == "Node" and each["name"].endswith(_KERNEL)]
    nodes.sort(key=lambda each: each["ts"])
    starts = [each["ts"] for each in nodes]
    profiles = []
    for each in inferences:
        first, last = bisect_left(starts, each["ts"]), bisect_left(starts, each["ts"] + each["dur"])
        rows = (
            {
                "name": node["name"].removesuffix(_KERNEL),
                "operator": node["args"]["op_name"],
                "nanoseconds": 1e3 * node["dur"],
            }
            for node in nodes[first:last]
        )
        profiles.append(Profiled(1000 * each["dur"], tuple(rows)))
    return profiles
