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
from attar.export.artifact_cache import shared
from attar.export.metadata import about, in_words
from attar.export.runners.onnx import OnnxRunner
from attar.extras import require
from attar.preprocessing import MEAN, STD
from attar.students import Student

IMAGE, PROBABILITIES = "image", "probabilities"
"""Names of the input and the output in a file written here."""

OPSET = 18
"""Version of ONNX's operators in every file: the oldest that torch's exporter writes without converting its graph, so
that apps need no newer ONNX Runtime than they must (1.18, for the form of the file). Integer files keep it too. The
`onnx` package's reference evaluator computes those from 19 on only: `onnx.version_converter` makes it such a copy."""


class Deployable(nn.Module):
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
        precision: `fp32`, `fp16` (half-size weights) or `int8` (QDQ, weights per channel, activations per tensor).
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        destination: the file to write.
    """
    model = build(student, bundle, precision, calibration, f"onnx:{precision}")
    destination.write_bytes(model.SerializeToString())


def build(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, target: str) -> Any:
    """The `onnx.ModelProto` of a student, checked, with what `attar.export.metadata` knows in its metadata_props."""
    onnx = require("onnx")
    content = shared(f"float onnx {bundle.fingerprint}", lambda: _float_content(student, bundle))
    if precision == "int8":
        content = _integer(content, calibration)
    model = onnx.load_model_from_string(content)
    if precision == "fp16":
        _halve_weights(model)
    _drop_unused_domains(model)
    _describe(model, bundle, target)
    onnx.checker.check_model(model)
    return model


def _drop_unused_domains(model: Any) -> None:
    """Import only the sets of operators that the graph uses: the quantizer imports eight of Microsoft's besides.

    A runtime that does not know a set which is imported may refuse the file, or warn of it.
    """
    used = {"", *(node.domain for node in model.graph.node)}
    kept = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _describe(model: Any, bundle: Bundle, target: str) -> None:
    """Write into the file what someone who meets it alone needs to know."""
    facts = about(bundle, target)
    said = {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items() if not isinstance(value, str)}
    require("onnx").helper.set_model_props(model, {**facts, **said})
    model.producer_name, model.producer_version = "attar", facts["attar"]
    model.doc_string = model.graph.doc_string = (
        f"{bundle.name}: image classifier of {len(bundle.labels)} classes, {target}."
    )
    model.graph.input[0].doc_string = in_words(bundle)
    model.graph.output[0].doc_string = "Probabilities, in the order of `labels` in the metadata; they sum to 1."


def _float_content(student: Student, bundle: Bundle) -> bytes:
    """The float .onnx, which every precision starts from."""
    require("onnxscript")
    size = bundle.preprocessing.size
    network = Deployable(student.network).eval()
    # Two images: torch.export takes a batch of one for a constant.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=[IMAGE],
        output_names=[PROBABILITIES],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where in whose folders each operator's source stands
    return bytes(program.model_proto.SerializeToString())


def _halve_weights(model: Any) -> None:
    """Store weights in half precision, each behind a Cast that the runtime folds away when it loads the file.

    Computing in half precision as well is slower where it matters: ONNX Runtime's CPU kernels on x86 have no half
    precision and cast around every operator (MobileNetV3-large, one thread: 1.3 times the latency of fp32; this: 1.0).
    """
    onnx = require("onnx")
    graph, casts = model.graph, []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue  # biases and scalars: few bytes, and the most to lose
        name, values = weight.name, onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _integer(content: bytes, calibration: np.ndarray) -> bytes:
    """Quantize convolutions and matrix products, with the operators between them (QDQ)."""
    quantization = require("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("float", "prepared", "int8"))
        plain.write_bytes(content)
        require("onnxruntime.quantization.shape_inference").quant_pre_process(str(plain), str(prepared))
        quantization.quantize_static(
            str(prepared),
            str(quantized),
            _Images(quantization.CalibrationDataReader, calibration),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Weights of 7 bits: products of unsigned activations and signed 8-bit weights saturate in ONNX Runtime's
            # kernels for x86 without VNNI, and its other kernels then compute something else.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # Softmax in integers would round probabilities to 1/256.
            op_types_to_quantize=_BETWEEN,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return quantized.read_bytes()


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


def open_runner(path: Path, threads: int = 1) -> OnnxRunner:
    """Load an .onnx file."""
    return OnnxRunner(path, threads)
