"""ONNX Runtime's own form (.ort): an ONNX graph already optimized, which its small mobile builds can load.

The same inputs, outputs and metadata as `attar.export.onnx`. There is no `fp16`: optimizing folds half-size weights
back to full ones. See "ORT format models" in ONNX Runtime's documentation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attar.bundle import Bundle
from attar.export import onnx
from attar.export.onnx import open_runner
from attar.extras import require
from attar.students import Student

__all__ = ["convert", "open_runner"]


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write an .ort file; arguments as in `attar.export.onnx.convert`, `precision` one of `fp32` and `int8`."""
    model = onnx.build(student, bundle, precision, calibration, f"ort:{precision}")
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # The next level up rearranges weights for the CPU at hand, which a phone does not have.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(destination)
    options.add_session_config_entry("session.save_model_format", "ORT")
    runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
