"""ONNX Runtime's own form (.ort): an ONNX graph already optimized, which its small mobile builds can load.

The same inputs, outputs and metadata as `attar.export.onnx`. There is no `fp16`: optimizing folds half-size weights
back to full ones. See "ORT format models" in ONNX Runtime's documentation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attar.bundle import Bundle
from attar.export import onnx
from attar.export.onnx import BY_PLAN, open_runner
from attar.export.plan import QuantizationPlan
from attar.extras import require
from attar.students import Student

__all__ = ["BY_PLAN", "ByPlan", "convert", "open_runner"]


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write an .ort file; arguments as in `attar.export.onnx.convert`, `precision` `fp32` or one of `BY_PLAN`."""
    if precision in BY_PLAN:
        return ByPlan(student, bundle, precision, calibration).write(QuantizationPlan(), destination)
    model = require("onnx").load_model_from_string(onnx.float_content(student, bundle))
    _optimize(onnx.finished(model, bundle, f"ort:{precision}"), destination)


class ByPlan(onnx.ByPlan):
    """A student's integer files, one for each plan."""

    def __init__(self, student: Student, bundle: Bundle, precision: str, calibration: np.ndarray) -> None:
        super().__init__(student, bundle, precision, calibration, "ort")

    def write(self, plan: QuantizationPlan, destination: Path) -> None:
        """Write the .ort file of a plan."""
        _optimize(self.content(plan), destination)


def _optimize(content: bytes, destination: Path) -> None:
    """Write an .onnx file's graph as ONNX Runtime optimizes it for any device."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # The next level up rearranges weights for the CPU at hand, which a phone does not have.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(destination)
    options.add_session_config_entry("session.save_model_format", "ORT")
    runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
