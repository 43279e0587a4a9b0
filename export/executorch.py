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
from attar.export.classifier import Classifier
from attar.export.metadata import about
from attar.export.runners.executorch import ABOUT, ExecuTorchRunner
from attar.extras import require
from attar.preprocessing import MEAN, STD
from attar.students import Student


class _WithImages(Classifier):
    """uint8 images (N, H, W, 3) -> probabilities (N, classes)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalization, network, softmax."""
        return super().forward((images.permute(0, 3, 1, 2).float() - MEAN) * (1 / STD))


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write a .pte file.

    Args:
        student: the model, in evaluation mode.
        bundle: its labels, preprocessing and provenance.
        precision: `fp32` or `int8` (weights per channel, activations per tensor; XNNPACK's own quantizer).
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        destination: the file to write.
    """
    exir = require("executorch.exir")
    partition = require("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    size = bundle.preprocessing.size
    image = (torch.zeros(1, size, size, 3, dtype=torch.uint8),)
    program = torch.export.export(_WithImages(student.network).eval(), image)
    if precision == "int8":
        program = torch.export.export(_integer(program, calibration), image)
    text = json.dumps(about(bundle, f"executorch:{precision}"), ensure_ascii=False).encode()
    lowered = exir.to_edge_transform_and_lower(
        program,
        partitioner=[partition.XnnpackPartitioner()],
        constant_methods={ABOUT: torch.tensor(list(text), dtype=torch.uint8)},
    )
    destination.write_bytes(lowered.to_executorch().buffer)


def _integer(program: Any, calibration: np.ndarray) -> torch.nn.Module:
    """The program with quantized weights and activations, ranges from `calibration`."""
    quantize = require("torchao.quantization.pt2e.quantize_pt2e")
    xnnpack = require("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    quantizer = xnnpack.XNNPACKQuantizer()
    quantizer.set_global(xnnpack.get_symmetric_quantization_config(is_per_channel=True))
    prepared = quantize.prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for image in calibration:
            prepared(torch.from_numpy(np.array(image[None])))
    converted: torch.nn.Module = quantize.convert_pt2e(prepared)
    return converted


def open_runner(path: Path, threads: int = 1) -> ExecuTorchRunner:
    """Load a .pte file. The pool stays as it is: other programs of the process may be using it."""
    return ExecuTorchRunner(path)
