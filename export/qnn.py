"""QNN: a student compiled for one chip's NPU (Qualcomm's HTP), as an .onnx file for ONNX Runtime's QNN provider.

Input: one uint8 image (1, H, W, 3). Output: float32 probabilities (1, classes). The graph has one node, `EPContext`,
whose content is what the NPU executes; nothing is left to the CPU. Labels, preprocessing and the chip stand in the
file's metadata_props. See "QNN Execution Provider" and "OnnxRuntime EP Context Cache Feature" in ONNX Runtime's
documentation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attar.bundle import Bundle
from attar.export import onnx, qdq
from attar.export.npu import emulator
from attar.export.runners.qnn import QnnRunner
from attar.extras import require
from attar.students import Student

_BITS = {"int8": 8, "w8a16": 16}
"""Of activations."""


def convert(
    student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path, *, soc: str
) -> None:
    """Write a file for a chip.

    Args:
        student: the model, in evaluation mode.
        bundle: its labels, preprocessing and provenance.
        precision: `fp16`, `int8` (weights per channel, activations per tensor) or `w8a16` (activations of 16 bits).
        calibration: uint8 training images (N, H, W, 3) that integer ranges are taken from.
        destination: the file to write.
        soc: of `attar.export.npu.socs`.

    Raises:
        Unsupported: the compiler leaves operators to the CPU.
        GateError: it failed.
    """
    require("onnxruntime_qnn")
    content = onnx.float_content(student, bundle)
    if precision in _BITS:
        content = qdq.for_npu(content, calibration, _BITS[precision])
    compiled = require("onnx").load_model_from_string(emulator.compiled(content, soc))
    # What the compiler says of itself, a phone's runtime reads before it takes the file.
    own = {each.key: each.value for each in compiled.metadata_props}
    onnx.describe(compiled, bundle, f"qnn:{precision}+{soc}", {**own, "soc": soc})
    destination.write_bytes(compiled.SerializeToString())


def open_runner(path: Path, threads: int = 1) -> QnnRunner:
    """A file in the vendor's emulator. It is never timed, so `threads` does not count."""
    return QnnRunner(path)
