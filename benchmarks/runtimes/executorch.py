"""ExecuTorch's runtime with its XNNPACK delegate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from attar.extras import require
from attar.extras import version as installed

NAME = "ExecuTorch (XNNPACK)"


def version() -> str:
    """The installed version."""
    return installed("executorch") or "unknown"


def preload() -> None:
    """Import the runtime's package."""
    require("executorch.runtime")


def load(path: str, threads: int) -> ExecuTorchSession:
    """Read the file and let the delegate prepare it."""
    # One pool serves every program of a process. Resizing it under a program that is loaded crashes the process, so
    # it is done for the first of the files that take turns, and the others find it as they want it.
    pool = require("executorch.extension.pybindings.portable_lib")
    if pool._threadpool_get_thread_count() != threads:
        pool._unsafe_reset_threadpool(threads)
    content = Path(path).read_bytes()
    return ExecuTorchSession(require("executorch.runtime").Runtime.get().load_program(content))


class ExecuTorchSession:
    """One program; `infer` is its method `forward`."""

    def __init__(self, program: Any) -> None:
        self._program = program
        self._forward = program.load_method("forward")
        self._image: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return tuple(self._forward.metadata.input_tensor_meta(0).sizes())

    def set_input(self, image: np.ndarray) -> None:
        """Keep the image for the next run."""
        self._image = require("torch").from_numpy(image)

    def infer(self) -> None:
        """Run the program."""
        self._forward.execute([self._image])

    def close(self) -> None:
        """Free the program."""
        self._forward = self._program = None
