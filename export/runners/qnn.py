"""A file compiled for Qualcomm's NPU, in the vendor's emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from attar.export.npu.emulator import NpuRunner
from attar.export.runners.answers import WithAnswers
from attar.export.runners.onnx import WithMetadata
from attar.extras import require


class QnnRunner(WithMetadata, WithAnswers):
    """A .ctx.onnx file on the emulated NPU of the chip it was made for: a `Runner` of `attar.export.runners`."""

    partitions: dict[str, Any] | None = None

    def __init__(self, path: Path) -> None:
        require("onnxruntime_qnn")
        model = require("onnx").load(path)
        self._about = {prop.key: prop.value for prop in model.metadata_props}
        self._inputs, self._outputs = model.graph.input, model.graph.output
        self._emulated = NpuRunner(path, self._about["soc"])

    @property
    def evaluator(self) -> str:
        """What computes it."""
        return self._emulated.evaluator

    @property
    def signature(self) -> dict[str, Any]:
        """Of the graph's one input, and its outputs."""
        [taken] = self._inputs
        return {"input": _signature(taken), **dict(zip(("output", "familiarity"), map(_signature, self._outputs)))}

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """As `WithAnswers` has it."""
        return self._emulated.answers(pixels)


def _signature(value: Any) -> dict[str, Any]:
    types = require("onnx").TensorProto
    kind = value.type.tensor_type
    dtype = {types.UINT8: "uint8", types.FLOAT: "float32"}.get(kind.elem_type, str(kind.elem_type))
    return {"name": value.name, "shape": [side.dim_value for side in kind.shape.dim], "dtype": dtype}
