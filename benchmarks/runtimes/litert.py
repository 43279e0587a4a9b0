"""LiteRT's interpreter with its default delegate, XNNPACK."""

from __future__ import annotations

from typing import Any

import numpy as np

from attar.extras import require
from attar.extras import version as installed

NAME = "LiteRT (XNNPACK)"


def version() -> str:
    """The installed version."""
    return installed("ai-edge-litert") or "unknown"


def preload() -> None:
    """Import the runtime's package."""
    require("ai_edge_litert.interpreter")


def load(path: str, threads: int) -> LiteRTSession:
    """Read the file, apply the delegate, and allocate the tensors."""
    return LiteRTSession(require("ai_edge_litert.interpreter").Interpreter(model_path=path, num_threads=threads))


class LiteRTSession:
    """One interpreter; `infer` is its `invoke`."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._interpreter.allocate_tensors()
        self._input = interpreter.get_input_details()[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return tuple(int(side) for side in self._input["shape"])

    def set_input(self, image: np.ndarray) -> None:
        """Copy the image into the input tensor."""
        self._interpreter.set_tensor(self._input["index"], image)

    def infer(self) -> None:
        """Run the graph."""
        self._interpreter.invoke()

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None
