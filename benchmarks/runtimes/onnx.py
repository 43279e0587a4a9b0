"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from attar.benchmarks.runtimes import Profiled, some_image
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


def load(path: str, threads: int) -> OnnxSession:
    """Read the file and optimize its graph."""
    return _load(path, _options(threads))


def profile(path: str, threads: int, runs: int) -> list[Profiled]:
    """Profile some inferences of one random image; times are whole microseconds."""
    options = _options(threads)
    options.enable_profiling = True
    with TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = _load(path, options)
        session.set_input(some_image(session.shape))
        for _ in range(runs):
            session.infer()
        return profiled(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")))


def named(rows: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The operators have the names that the graph gives them."""
    return list(rows)


def profiled(events: Sequence[dict[str, Any]]) -> list[Profiled]:
    """The inferences in the events of ONNX Runtime's profiler: a node belongs to the inference in whose time it ran."""
    inferences = sorted((each for each in events if each["name"] == "model_run"), key=lambda each: each["ts"])
    nodes = [each for each in events if each["cat"] == "Node" and each["name"].endswith(_KERNEL)]
    nodes.sort(key=lambda each: each["ts"])
    starts = [each["ts"] for each in nodes]
    found = []
    for each in inferences:
        first, last = bisect_left(starts, each["ts"]), bisect_left(starts, each["ts"] + each["dur"])
        rows = (
            {
                "name": node["name"].removesuffix(_KERNEL), "operator": node["args"]["op_name"],
                "nanoseconds": 1e3 * node["dur"],
            }
            for node in nodes[first:last]
        )  # fmt: skip
        found.append(Profiled(1000 * each["dur"], tuple(rows)))
    return found


def _load(path: str, options: Any) -> OnnxSession:
    session = require("onnxruntime").InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return OnnxSession(session)


def _options(threads: int) -> Any:
    options = require("onnxruntime").SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads that spin after an inference would slow down the next file in the round.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


class OnnxSession:
    """One inference session; `infer` is its `run`."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0]
        self._feed: dict[str, np.ndarray] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input; a batch of any size is run with one image."""
        return tuple(side if isinstance(side, int) else 1 for side in self._input.shape)

    def set_input(self, image: np.ndarray) -> None:
        """Keep the image for the next run."""
        self._feed = {self._input.name: image}

    def infer(self) -> None:
        """Run the graph."""
        self._session.run(None, self._feed)

    def end_profiling(self) -> str:
        """Stop profiling, if it was asked for -> the file with the events."""
        return str(self._session.end_profiling())

    def close(self) -> None:
        """Free the session."""
        self._session = None
