"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from attar.extras import require
from attar.extras import version as installed

NAME = "ONNX Runtime (CPU)"


def version() -> str:
    """The installed version."""
    return installed("onnxruntime") or "unknown"


def preload() -> None:
    """Import the runtime's package."""
    require("onnxruntime")


def load(path: str, threads: int) -> OnnxSession:
    """Read the file and optimize its graph."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads that spin after an inference would slow down the next file in the round.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return OnnxSession(runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


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

    def close(self) -> None:
        """Free the session."""
        self._session = None
