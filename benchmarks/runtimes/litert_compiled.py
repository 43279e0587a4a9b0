"""LiteRT's CompiledModel on the CPU, with XNNPACK: the interface that LiteRT recommends since version 2."""

from __future__ import annotations

from typing import Any

import numpy as np

from attar.extras import require
from attar.extras import version as installed

NAME = "LiteRT CompiledModel (XNNPACK)"


def version() -> str:
    """The installed version."""
    return installed("ai-edge-litert") or "unknown"


def preload() -> None:
    """Import the runtime's package."""
    require("ai_edge_litert.compiled_model")


def load(path: str, threads: int) -> CompiledSession:
    """Read the file, and compile it for the CPU."""
    litert = require("ai_edge_litert.compiled_model")
    options = litert.Options(
        hardware_accelerators=litert.HardwareAccelerator.CPU, cpu_options=litert.CpuOptions(num_threads=threads)
    )
    return CompiledSession(litert.CompiledModel.from_file(path, options=options))


class CompiledSession:
    """One compiled model with buffers for its first signature; `infer` runs that."""

    def __init__(self, model: Any) -> None:
        self._model = model
        (details,) = model.get_input_tensor_details(next(iter(model.get_signature_list()))).values()
        self._shape = tuple(int(side) for side in details["shape"])
        self._inputs, self._outputs = model.create_input_buffers(0), model.create_output_buffers(0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return self._shape

    def set_input(self, image: np.ndarray) -> None:
        """Copy the image into the input buffer."""
        self._inputs[0].write(image)

    def infer(self) -> None:
        """Run the graph; the answer stays in the output buffer."""
        self._model.run_by_index(0, self._inputs, self._outputs)

    def close(self) -> None:
        """Free the model and its buffers."""
        self._inputs = self._outputs = []
        self._model.close()
