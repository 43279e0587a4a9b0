"""Other evaluators of a .tflite file: TensorFlow's reference kernels, and LiteRT on an emulated ARM.

TensorFlow gets its own process because its library and triton's, which torch loads, end in a segmentation fault when
they meet in the wrong order.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from attar.export.subprocess_runner import SubprocessRunner
from attar.export.tflite import arm as emulated
from attar.extras import version

TENSORFLOW = "TensorFlow reference kernels"
ARM = "LiteRT on ARM"
"""Names of evaluators."""

SCRIPT = str(Path(__file__).with_name("interpret.py"))


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; does not import it."""
    return importlib.util.find_spec("tensorflow") is not None


def tensorflow(path: Path) -> SubprocessRunner:
    """A file in TensorFlow's interpreter with its reference kernels: no XNNPACK, no optimized code."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    evaluator = f"TensorFlow {version('tensorflow')}, reference kernels"
    return SubprocessRunner(path, evaluator, [sys.executable, SCRIPT], ["reference"], environment)


def arm(path: Path) -> SubprocessRunner:
    """A file in LiteRT with XNNPACK's ARM kernels, on an emulated 64-bit ARM.

    Raises:
        InputError: the emulator is missing, or its machine cannot be set up; the text says what to install.
    """
    machine = emulated.machine()
    evaluator = f"LiteRT {version('ai-edge-litert')} with XNNPACK, 64-bit ARM under {machine.emulator}"
    return SubprocessRunner(path, evaluator, [*machine.python, SCRIPT], ["optimized"], machine.environment)
