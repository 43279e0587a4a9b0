"""A .tflite file run in a process of its own, by another interpreter or on another processor.

TensorFlow gets its own process because its library and triton's, which torch loads, end in a segmentation fault when
they meet in the wrong order.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attar.errors import GateError
from attar.export.tflite import arm as emulated
from attar.extras import version

TENSORFLOW = "TensorFlow reference kernels"
ARM = "LiteRT on ARM"
"""Names of evaluators."""

SCRIPT = Path(__file__).with_name("interpret.py")
SECONDS_PER_IMAGE = 30
"""Patience: emulated or reference kernels take about a second for an image of 224 pixels."""


class Elsewhere:
    """A .tflite file, ready to be run by `interpret.py` in another process; see `attar.export.runners.Evaluator`."""

    def __init__(
        self, path: Path, evaluator: str, python: Sequence[str], kernels: str, environment: Mapping[str, str]
    ) -> None:
        self.evaluator = evaluator
        self._path, self._python, self._kernels, self._environment = path, python, kernels, environment

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 probabilities (N, classes)."""
        with tempfile.TemporaryDirectory() as folder:
            images, answers = Path(folder) / "images.npy", Path(folder) / "answers.npy"
            np.save(images, pixels)
            command = [*self._python, str(SCRIPT), str(self._path.resolve()), str(images), str(answers), self._kernels]
            limit = 120 + SECONDS_PER_IMAGE * len(pixels)
            try:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    env=dict(self._environment),
                    timeout=limit,
                )
            except subprocess.TimeoutExpired:
                raise GateError(f"no answer after {limit} seconds") from None
            if done.returncode != 0:
                raise GateError(f"it ended with exit code {done.returncode}\n{done.stderr[-2000:].strip()}")
            return np.asarray(np.load(answers), np.float32)


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; does not import it."""
    return importlib.util.find_spec("tensorflow") is not None


def tensorflow(path: Path) -> Elsewhere:
    """A file in TensorFlow's interpreter with its reference kernels: no XNNPACK, no optimized code."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    evaluator = f"TensorFlow {version('tensorflow')}, reference kernels"
    return Elsewhere(path, evaluator, [sys.executable], "reference", environment)


def arm(path: Path) -> Elsewhere:
    """A file in LiteRT with XNNPACK's ARM kernels, on an emulated 64-bit ARM.

    Raises:
        InputError: the emulator is missing, or its machine cannot be set up; the text says what to install.
    """
    machine = emulated.machine()
    evaluator = f"LiteRT {version('ai-edge-litert')} with XNNPACK, 64-bit ARM under {machine.emulator}"
    return Elsewhere(path, evaluator, machine.python, "optimized", machine.environment)
