"""ExecuTorch: a student as a .pte program for its XNNPACK delegate, and running one.

Input: one uint8 image (1, H, W, 3). Output: float32 probabilities (1, classes). A .pte file has no place for
metadata, so the program has a second method, `about`, that returns what `attar.export.metadata` knows: JSON text in
UTF-8, as a uint8 tensor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attar.bundle import Bundle
from attar.export import pt2e
from attar.export.classifier import Classifier, Outputs
from attar.export.metadata import about
from attar.export.plan import QuantizationPlan, Tools
from attar.export.runners.executorch import ABOUT, ExecuTorchRunner
from attar.extras import require
from attar.preprocessing import MEAN, STD
from attar.students import Student
from attar.students.rewrites import folded

BY_PLAN = ("int8", "int8+fp")
"""Precisions that are quantized by plan: `convert` takes the plain one, `attar.export.recovery` finds another."""


class _WithImages(Classifier):
    """uint8 images (N, H, W, 3) -> probabilities (N, classes)."""

    def forward(self, images: torch.Tensor) -> Outputs:
        """Normalization, network, softmax."""
        return super().forward((images.permute(0, 3, 1, 2).float() - MEAN) * (1 / STD))


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write a .pte file.

    Args:
        student: the model, in evaluation mode.
        bundle: its labels, preprocessing and provenance.
        precision: `fp32` or `int8` (weights per channel, activations per tensor; XNNPACK's own quantizer; of `int8+fp`
            some layers may stay float).
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        destination: the file to write.
    """
    if precision in BY_PLAN:
        return ByPlan(student, bundle, precision, calibration).write(QuantizationPlan(), destination)
    _lower(_program(student, bundle), bundle, precision, destination)


class ByPlan:
    """A student's integer files, one for each plan; see `attar.export.plan.ByPlan`.

    Args as of `convert`.
    """

    tools: Tools = ()

    def __init__(self, student: Student, bundle: Bundle, precision: str, calibration: np.ndarray) -> None:
        self._bundle, self._precision = bundle, precision
        self._quantization = pt2e.Quantization(_program(student, bundle), calibration)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that a plan may keep float."""
        return self._quantization.layers

    def write(self, plan: QuantizationPlan, destination: Path) -> None:
        """Write the file of a plan."""
        program = torch.export.export(self._quantization.quantize(plan), _image(self._bundle))
        _lower(program, self._bundle, self._precision, destination)

    def predict(self, plan: QuantizationPlan, images: np.ndarray) -> np.ndarray:
        """What the program of a plan answers in torch, nearly as XNNPACK does."""
        return self._quantization.predict(plan, images)


def _image(bundle: Bundle) -> tuple[torch.Tensor]:
    size = bundle.preprocessing.size
    return (torch.zeros(1, size, size, 3, dtype=torch.uint8),)


def _program(student: Student, bundle: Bundle) -> Any:
    """The student from a uint8 image on, in float."""
    return torch.export.export(_WithImages(folded(student.answering())).eval(), _image(bundle))


def _lower(program: Any, bundle: Bundle, precision: str, destination: Path) -> None:
    """Write a program as a .pte file for XNNPACK, with what it says of itself."""
    exir = require("executorch.exir")
    partition = require("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    text = json.dumps(about(bundle, f"executorch:{precision}"), ensure_ascii=False).encode()
    lowered = exir.to_edge_transform_and_lower(
        program,
        partitioner=[partition.XnnpackPartitioner()],
        constant_methods={ABOUT: torch.tensor(list(text), dtype=torch.uint8)},
    )
    destination.write_bytes(lowered.to_executorch().buffer)


def open_runner(path: Path, threads: int = 1) -> ExecuTorchRunner:
    """Load a .pte file. The pool stays as it is: other programs of the process may be using it."""
    return ExecuTorchRunner(path)
