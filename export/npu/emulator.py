"""Qualcomm's NPU as this machine has it: the vendor's compiler and emulator, of the package onnxruntime-qnn.

The emulator computes what the NPU computes. Its time is not the NPU's: attar reports none of it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from attar.errors import GateError
from attar.export.formats import HALF
from attar.export.npu.socs import DEFAULT, SOCS
from attar.export.subprocess_runner import SubprocessRunner, run
from attar.extras import is_installed as installed
from attar.extras import version

NAME = "Snapdragon NPU"
"""Name of the evaluator."""

SCRIPT = str(Path(__file__).with_name("htp.py"))
SECONDS = 1800
"""Patience with the compiler: seconds for a phone-sized student, minutes for a large one with attention."""


def is_installed() -> bool:
    """Whether the emulator is here; does not import it."""
    return installed("onnxruntime_qnn")


def emulated(path: Path, soc: str = DEFAULT) -> SubprocessRunner:
    """An .onnx file, compiled or not, on the emulated NPU of a chip. What is float there has half precision."""
    packages = f"onnxruntime-qnn {version('onnxruntime-qnn')}, ONNX Runtime {version('onnxruntime')}"
    evaluator = f"emulated NPU of {soc} (HTP v{SOCS[soc].arch}), {packages}"
    return SubprocessRunner(path, evaluator, [sys.executable, SCRIPT, "run"], _numbers(soc), os.environ, HALF)


def compile_context(model: Path, context: Path, soc: str) -> None:
    """Compile an .onnx file for a chip: write one whose only node is what its NPU executes.

    Raises:
        GateError: the compiler failed, or leaves operators to the CPU; the text names them.
    """
    command = [sys.executable, SCRIPT, "compile", str(model), str(context), *_numbers(soc)]
    try:
        run(command, os.environ, SECONDS)
    except GateError as error:
        refused = _refused(str(error))
        if refused:
            raise GateError(
                f"the NPU of {soc} does not take every operator, and the CPU would have to do the rest: "
                f"{', '.join(refused)}. Choose another student (docs/support.md), or another format"
            ) from None
        raise GateError(f"the NPU's compiler failed: {error}") from None


def _numbers(soc: str) -> list[str]:
    return [str(SOCS[soc].model), str(SOCS[soc].arch)]


def _refused(text: str) -> list[str]:
    """The kinds of operators that the compiler's last complaint lists, once each."""
    complaints = re.findall(r"Unsupported nodes in QNN EP: (.*)", text)
    return list(dict.fromkeys(re.findall(r"type: (\w+)", complaints[-1]))) if complaints else []
