"""Qualcomm's NPU as this machine has it: the vendor's compiler and emulator, of the package onnxruntime-qnn.

The emulator computes what the NPU computes. Its time is not the NPU's: attar reports none of it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from attar.errors import GateError, Unsupported
from attar.export.formats import HALF
from attar.export.npu.socs import DEFAULT, SOCS
from attar.export.subprocess_runner import SubprocessRunner, run
from attar.extras import is_installed, version

NAME = "Snapdragon NPU"
"""Name of the evaluator."""

SCRIPT = str(Path(__file__).with_name("htp.py"))
SECONDS = 1800
"""Patience with the compiler: seconds for a phone-sized student, minutes for a large one with attention."""


def is_wanted() -> bool:
    """Whether .onnx files are to be run here: the package is installed, and the variable ATTAR_NPU is not 0."""
    return is_installed("onnxruntime_qnn") and os.environ.get("ATTAR_NPU") != "0"


class NpuRunner(SubprocessRunner):
    """An .onnx file, compiled or not, on the emulated NPU of a chip. What is float there has half precision.

    `answers` raises `Unsupported` if the NPU does not take every operator, and `GateError` if the compiler fails.
    """

    def __init__(self, path: Path, soc: str = DEFAULT) -> None:
        packages = f"onnxruntime-qnn {version('onnxruntime-qnn')}, ONNX Runtime {version('onnxruntime')}"
        evaluator = f"emulated NPU of {soc} (HTP v{SOCS[soc].arch}), {packages}"
        super().__init__(path, evaluator, [sys.executable, SCRIPT, "run"], _numbers(soc), os.environ, HALF)
        self._soc = soc

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 (N, classes), and a column of familiarity if the file gives it."""
        with _unsupported(self._soc):
            return super().answers(pixels)


def compiled(content: bytes, soc: str) -> bytes:
    """An .onnx file compiled for a chip: another .onnx file whose only node is what its NPU executes.

    Raises:
        Unsupported: it would leave operators to the CPU.
        GateError: the compiler failed.
    """
    with tempfile.TemporaryDirectory() as folder, _unsupported(soc):
        model, context = "model.onnx", "context.onnx"  # no path: it would go into the file, as a digest
        (Path(folder) / model).write_bytes(content)
        command = [sys.executable, SCRIPT, "compile", model, context, *_numbers(soc)]
        run(command, os.environ, SECONDS, Path(folder))
        return (Path(folder) / context).read_bytes()


def _numbers(soc: str) -> list[str]:
    return [str(SOCS[soc].model), str(SOCS[soc].arch)]


@contextmanager
def _unsupported(soc: str) -> Iterator[None]:
    """Say which operators the NPU refuses, where that is why its process failed."""
    try:
        yield
    except GateError as error:
        complaints = re.findall(r"Unsupported nodes in QNN EP: (.*)", str(error))
        kinds = list(dict.fromkeys(re.findall(r"type: ([\w ]+\w)", complaints[-1]))) if complaints else []
        if not kinds:
            raise
        raise Unsupported(
            f"the NPU of {soc} does not take {', '.join(kinds)} as the file has it, and the CPU would have to. "
            f"Choose a student without (docs/support.md says which), or a format for the CPU"
        ) from None
