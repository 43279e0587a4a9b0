"""QNN: a student compiled for one chip's NPU (Qualcomm's HTP), as an .onnx file for ONNX Runtime's QNN provider.

Input: one uint8 image (1, H, W, 3). Output: float32 probabilities (1, classes). The graph has one node, `EPContext`,
whose content is what the NPU executes; nothing is left to the CPU. Labels, preprocessing and the chip stand in the
file's metadata_props. See "QNN Execution Provider" and "OnnxRuntime EP Context Cache Feature" in ONNX Runtime's
documentation.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from attar.bundle import Bundle
from attar.export import onnx
from attar.export.npu import emulator
from attar.export.plan import QuantizationPlan, Tools
from attar.export.qdq import Device, Quantization
from attar.export.runners.onnx import OnnxRunner
from attar.export.runners.qnn import QnnRunner
from attar.extras import require
from attar.students import Student

BY_PLAN = ("int8", "int8+fp", "w8a16")
"""Precisions that are quantized by plan: `convert` takes the plain one, `attar.export.recovery` finds another."""


def convert(
    student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path, *, soc: str
) -> None:
    """Write a file for a chip.

    Args:
        student: the model, in evaluation mode.
        bundle: its labels, preprocessing and provenance.
        precision: `fp16`, `int8` (weights per channel, activations per tensor; `int8+fp`: some layers may stay in half
            precision) or `w8a16` (activations of 16 bits).
        calibration: uint8 training images (N, H, W, 3) that integer ranges are taken from.
        destination: the file to write.
        soc: of `attar.export.npu.socs`.

    Raises:
        Unsupported: the compiler leaves operators to the CPU.
        GateError: it failed.
    """
    if precision in BY_PLAN:
        return ByPlan(student, bundle, precision, calibration, soc=soc).write(QuantizationPlan(), destination)
    require("onnxruntime_qnn")
    _compile(onnx.float_content(student, bundle), bundle, precision, soc, destination)


class ByPlan:
    """A student's integer files for a chip, one for each plan; see `attar.export.plan.ByPlan`.

    Args as of `convert`.
    """

    tools: Tools = ()

    def __init__(self, student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, *, soc: str) -> None:
        require("onnxruntime_qnn")
        self._bundle, self._precision, self._soc = bundle, precision, soc
        device = Device(npu=True, bits=16 if precision == "w8a16" else 8)
        self._quantization = Quantization(onnx.float_content(student, bundle), calibration, device)
        self._content = lru_cache(maxsize=1)(self._quantization.quantize)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that a plan may keep in half precision."""
        return self._quantization.layers

    def write(self, plan: QuantizationPlan, destination: Path) -> None:
        """Write the file of a plan."""
        _compile(self._content(plan), self._bundle, self._precision, self._soc, destination)

    def predict(self, plan: QuantizationPlan, images: np.ndarray) -> np.ndarray:
        """What the graph of a plan answers on the CPU, nearly as the NPU does and much sooner than its
        emulator."""
        return OnnxRunner(self._content(plan)).answers(images)[:, : len(self._bundle.labels)]


def _compile(content: bytes, bundle: Bundle, precision: str, soc: str, destination: Path) -> None:
    """Write an .onnx file compiled for a chip, with what it says of itself."""
    compiled = require("onnx").load_model_from_string(emulator.compiled(content, soc))
    # What the compiler says of itself, a phone's runtime reads before it takes the file.
    own = {each.key: each.value for each in compiled.metadata_props}
    onnx.describe(compiled, bundle, f"qnn:{precision}+{soc}", {**own, "soc": soc})
    destination.write_bytes(compiled.SerializeToString())


def open_runner(path: Path, threads: int = 1) -> QnnRunner:
    """A file in the vendor's emulator. It is never timed, so `threads` does not count."""
    return QnnRunner(path)
