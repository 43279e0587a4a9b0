"""How an integer file is quantized, as plain data: what `attar.export.recovery` chooses and formats carry out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class QuantizationPlan:
    """How a file is quantized; plain data.

    Attributes:
        ranges: of activations: `whole`, `average`, `percentile` or `mse`, see `attar.export.ranges`.
        weights: `min_max`, or `octav` (clipped for the least squared error, arXiv 2206.06501).
        equalize: see `attar.export.tflite.equalize`.
        correct_bias: see `attar.export.tflite.bias`.
        keep_float: names of layers that stay float.
    """

    ranges: str = "whole"
    weights: str = "min_max"
    equalize: bool = False
    correct_bias: bool = False
    keep_float: tuple[str, ...] = ()


RANGES = {
    "whole": "whole ranges",
    "average": "average ranges",
    "percentile": "percentile ranges",
    "mse": "least-squares ranges",
}
"""Estimators of ranges (`attar.export.ranges`), and what they are called. No one is best for every student."""

Tools = tuple[tuple[str, dict[str, Any]], ...]
TOOLS: Tools = (
    ("clipped weights (OCTAV)", {"weights": "octav"}),
    ("cross-layer equalization", {"equalize": True}),
    ("bias correction", {"correct_bias": True}),
)
"""What is tried after the ranges, in order of cost: what a tool is called, and what it changes in a plan."""


class ByPlan(Protocol):
    """A student's integer files of one format, one for each plan: what a format's module calls `ByPlan`."""

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers that a plan may keep float."""

    @property
    def tools(self) -> Tools:
        """Those of `TOOLS` that the format has."""

    def write(self, plan: QuantizationPlan, destination: Path) -> None:
        """Write the file of a plan."""

    def predict(self, plan: QuantizationPlan, images: np.ndarray) -> np.ndarray:
        """What the file of a plan answers to uint8 images (N, H, W, 3): probabilities (N, classes).

        Where running the file is slow, what computes nearly the same.
        """
