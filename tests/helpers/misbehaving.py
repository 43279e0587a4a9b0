"""A format whose converters misbehave, each in the way that its precision names.

Tests register it (`attar.export.targets.FORMATS`); the process of each target then imports it by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attar import students
from attar.bundle import Bundle
from attar.export import onnx
from attar.export.formats import FLOAT, FORMATS, Format

GIGABYTE = 10**9


def _abort(*_: Any) -> None:
    print("about to abort")
    os.abort()


def _exit(*_: Any) -> None:
    os._exit(3)


def _sleep(*_: Any) -> None:
    print("about to sleep")
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])


def _allocate(*_: Any) -> None:
    held = []
    for _ in range(40):  # no more than four gigabytes, should nothing stop it
        held.append(b"x" * (GIGABYTE // 10))
        time.sleep(0.02)
    time.sleep(600)  # on a busy machine nobody may have looked meanwhile


def _other(student: students.Student, bundle: Bundle, *rest: Any) -> None:
    """Writes a file of another student."""
    another = students.create_student(student.architecture["name"], 3).eval()
    onnx.convert(another, replace(bundle, weights_sha256="another"), *rest)


class _Spectrum(nn.Module):
    """Ends in an operator that no phone format has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(self.network(images)[:, None, :].repeat(1, 3, 1))


def _unsupported(student: students.Student, bundle: Bundle, precision: str, *rest: Any) -> None:
    """A student with an operator that a real converter does not know."""
    module = FORMATS[precision.removeprefix("unsupported-")].module
    student.network = _Spectrum(student.network).eval()
    __import__(module, fromlist=["convert"]).convert(student, bundle, "fp16", *rest)


_WAYS = {"abort": _abort, "exit": _exit, "sleep": _sleep, "allocate": _allocate, "fp16": _other}
_UNSUPPORTED = ("unsupported-litert", "unsupported-coreml", "unsupported-onnx")


def convert(student: students.Student, bundle: Bundle, precision: str, calibration: Any, destination: Path) -> None:
    """Misbehave as `precision` says; `fp32` is a good .onnx file, `fp16` another student's."""
    if precision in _UNSUPPORTED:
        _unsupported(student, bundle, precision, calibration, destination)
    else:
        _WAYS.get(precision, onnx.convert)(student, bundle, "fp32", calibration, destination)


open_runner = onnx.open_runner

FORMAT = Format("Misbehaving", "helpers.misbehaving", dict.fromkeys(("fp32", *_WAYS, *_UNSUPPORTED), FLOAT), "onnx")
