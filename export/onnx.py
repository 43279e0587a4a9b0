"""ONNX: a student as an .onnx file, and running one.

Input: uint8 images (batch, H, W, 3), any batch. Output: float32 probabilities (batch, classes). Labels and
preprocessing stand in the file's metadata_props, as JSON.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from attar.bundle import Bundle
from attar.extras import require, version
from attar.preprocessing import MEAN, STD
from students import Student

IMAGE, PROBABILITIES = "image", "probabilities"
"""Names of the input and the output in a file written here."""

OPSET = 18


class _Deployable(nn.Module):
    """uint8 images (N, H, W, 3) -> probabilities (N, classes)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalization, network, softmax."""
        normalized = (images.permute(0, 3, 1, 2).float() - MEAN) * (1 / STD)
        return torch.softmax(self.network(normalized), dim=1)


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write an .onnx file.

    Args:
        student: the model, in evaluation mode.
        bundle: its labels, preprocessing and provenance.
        precision: `fp32` or `int8` (QDQ, weights per channel, activations per tensor).
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        destination: the file to write.
    """
    onnx = require("onnx")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        _float_file(student, bundle, path)
        if precision == "int8":
            path = _integer(path, calibration)
        model = onnx.load(path)
    model.producer_name, model.producer_version = "attar", str(version("attar") or "")
    model.doc_string = f"Image classifier of {len(bundle.labels)} classes, {precision}"
    about = {
        "labels": json.dumps(list(bundle.labels), ensure_ascii=False),
        "preprocessing": json.dumps(bundle.preprocessing.to_json()),
        "model": bundle.name,
        "precision": precision,
        "fingerprint": bundle.fingerprint,
    }
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model)
    onnx.save(model, destination)


def _float_file(student: Student, bundle: Bundle, path: Path) -> None:
    require("onnxscript")
    size = bundle.preprocessing.size
    network = _Deployable(student.network).eval()
    # Two images: torch.export takes a batch of one for a constant.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        network, (example,), dynamo=True, opset_version=OPSET, external_data=False,
        input_names=[IMAGE], output_names=[PROBABILITIES], dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    assert program is not None
    program.save(str(path))


def _integer(path: Path, calibration: np.ndarray) -> Path:
    """Quantize convolutions and matrix products, with the operators between them (QDQ)."""
    quantization = require("onnxruntime.quantization")
    prepared, quantized = path.with_name("prepared.onnx"), path.with_name("int8.onnx")
    require("onnxruntime.quantization.shape_inference").quant_pre_process(str(path), str(prepared))
    quantization.quantize_static(
        str(prepared), str(quantized), _Images(quantization.CalibrationDataReader, calibration),
        quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        # Softmax in integers would round probabilities to 1/256.
        op_types_to_quantize=_BETWEEN, calibrate_method=quantization.CalibrationMethod.MinMax,
    )  # fmt: skip
    return quantized


_BETWEEN = ["Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "GlobalAveragePool", "ReduceMean", "HardSigmoid"]


def _Images(base: Any, calibration: np.ndarray) -> Any:
    """onnxruntime's calibration reader over images, one at a time."""

    class Reader(base):
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {IMAGE: image[None]}

    return Reader()


class OnnxRunner:
    """An .onnx file in ONNX Runtime on the CPU; see `export.runner.Runner`."""

    partitions: dict[str, Any] | None = None

    def __init__(self, path: Path, threads: int = 1) -> None:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        [image], [probabilities] = self._session.get_inputs(), self._session.get_outputs()
        about = self._session.get_modelmeta().custom_metadata_map
        self.labels = tuple(json.loads(about.get("labels", "[]")))
        self.signature = {"input": _about(image), "output": _about(probabilities)}
        self.evaluator = f"ONNX Runtime {version('onnxruntime')}, CPU"

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 probabilities (N, classes)."""
        parts = [self._session.run(None, {IMAGE: pixels[s : s + 32]})[0] for s in range(0, len(pixels), 32)]
        return np.concatenate(parts)


def open_runner(path: Path, threads: int = 1) -> OnnxRunner:
    """Load an .onnx file."""
    return OnnxRunner(path, threads)


def _about(value: Any) -> dict[str, Any]:
    dtype = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}.get(value.type, value.type)
    return {"name": value.name, "shape": list(value.shape), "dtype": dtype}
