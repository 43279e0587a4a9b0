"""From a float .onnx file to one in integers, in the form of QuantizeLinear and DequantizeLinear around each operator.

onnxruntime's quantizer does the quantizing. What it is given differs between CPUs and Qualcomm's NPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attar.extras import require

_ON_CPU = ["Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "GlobalAveragePool", "ReduceMean", "HardSigmoid"]
"""Operators in integers on a CPU: convolutions and matrix products, with what stands between them. Softmax in integers
would round probabilities to 1/256."""


def for_cpu(content: bytes, calibration: np.ndarray) -> bytes:
    """Weights of 7 bits per channel, activations of 8 bits per tensor.

    Args:
        content: a float .onnx file of uint8 images (batch, H, W, 3).
        calibration: uint8 images (N, H, W, 3) that ranges are taken from.
    """
    quantization = require("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = _prepared(content, Path(folder)), Path(folder) / "integer.onnx"
        quantization.quantize_static(
            str(prepared),
            str(quantized),
            _reader(prepared, calibration),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Weights of 7 bits: products of unsigned activations and signed 8-bit weights saturate in ONNX Runtime's
            # kernels for x86 without VNNI, and its other kernels then compute something else.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=_ON_CPU,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return quantized.read_bytes()


def for_npu(content: bytes, calibration: np.ndarray, bits: int) -> bytes:
    """Weights of 8 bits per channel, activations of `bits` (8 or 16) per tensor, every operator but Softmax.

    Args as of `for_cpu`. The batch stays free: `attar.export.npu` fixes it.
    """
    quantization = require("onnxruntime.quantization")
    npu = require("onnxruntime.quantization.execution_providers.qnn")
    kinds = {8: quantization.QuantType.QUInt8, 16: quantization.QuantType.QUInt16}
    with tempfile.TemporaryDirectory() as folder:
        plain = _prepared(content if bits == 8 else _with_wide_pixels(content), Path(folder))
        fused, quantized = Path(folder) / "fused.onnx", Path(folder) / "integer.onnx"
        onnx = require("onnx")
        model = onnx.load(plain)
        del model.metadata_props[:]  # onnxruntime's helper fails on any
        prepared = fused if npu.qnn_preprocess_model(model, str(fused)) else plain
        settings = npu.get_qnn_qdq_config(
            str(prepared),
            _reader(prepared, calibration),
            activation_type=kinds[bits],
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[node.name for node in onnx.load(prepared).graph.node if node.op_type == "Softmax"],
        )
        quantization.quantize(str(prepared), str(quantized), settings)
        return quantized.read_bytes()


def _prepared(content: bytes, folder: Path) -> Path:
    """The float file with the shapes of all tensors, which the quantizer goes by."""
    plain, prepared = folder / "float.onnx", folder / "prepared.onnx"
    plain.write_bytes(content)
    require("onnxruntime.quantization.shape_inference").quant_pre_process(str(plain), str(prepared))
    return prepared


def _with_wide_pixels(content: bytes) -> bytes:
    """A file whose pixels have 16 bits: its first convolution then has inputs and outputs of one width.

    Exact: scale 1/32768 and zero point 32768 hold every value of scale 1/128 and zero point 128.
    """
    onnx, helper = require("onnx"), require("onnx.helper")
    model = require("onnx.version_converter").convert_version(onnx.load_model_from_string(content), 21)  # has 16 bits
    nodes = list(model.graph.node)
    values = nodes[0].output[0]
    integers, again = f"{values}.wide", f"{values}.again"
    scale = onnx.numpy_helper.from_array(np.float32(1 / 32768), f"{integers}.scale")
    zero = onnx.numpy_helper.from_array(np.uint16(32768), f"{integers}.zero_point")
    for node in nodes:
        node.input[:] = [again if name == values else name for name in node.input]
    nodes[1:1] = [
        helper.make_node("QuantizeLinear", [values, scale.name, zero.name], [integers], name=f"{integers}.quantize"),
        helper.make_node("DequantizeLinear", [integers, scale.name, zero.name], [again], name=f"{integers}.dequantize"),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([scale, zero])
    return bytes(model.SerializeToString())


def _reader(path: Path, calibration: np.ndarray) -> Any:
    """onnxruntime's calibration reader over images, one at a time."""
    base: Any = require("onnxruntime.quantization").CalibrationDataReader
    name = require("onnx").load(path).graph.input[0].name

    class Reader(base):
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {name: image[None]}

    return Reader()
