"""LiteRT (TFLite): a student as a .tflite file, and running one.

Every file takes a uint8 NHWC image and gives float32 probabilities, whatever its precision: that is what
MediaPipe, ML Kit and LiteRT.js all accept. Softmax stays in float, because an int8 softmax would round
probabilities to 1/256.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from attar.bundle import Bundle
from attar.errors import InputError
from attar.extras import require, version
from attar.preprocessing import MEAN, STD
from export.tflite import graph, metadata
from export.tflite.quantize import Plan, Quantization
from students import Student
from students.rewrites import phone_safe

IMAGE, PROBABILITIES = "image", "probabilities"
"""Names of the input and the output in a file written here."""

BY_PLAN = ("int8", "int8+fp")
"""Precisions that are quantized by plan: `convert` takes the plain one, `export.recovery` finds one that passes."""

_float_models: dict[str, bytes] = {}


class _ChannelsLast(nn.Module):
    """The network as phones feed it: normalized images (1, H, W, 3) -> probabilities (1, classes)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized NHWC images -> probabilities."""
        return torch.softmax(self.network(images.permute(0, 3, 1, 2)), dim=1)


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write a .tflite file.

    Args:
        student: the model, in evaluation mode.
        bundle: its labels, preprocessing and provenance.
        precision: `fp32`, `fp16` (half-size weights) or `int8` (weights and activations; `int8+fp`: some
            layers may stay float).
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        destination: the file to write.
    """
    content = _float_model(student, bundle)
    if precision == "fp16":
        content = _half_weights(content)
    elif precision in BY_PLAN:
        return ByPlan(student, bundle, precision, calibration).write(Plan(), destination)
    destination.write_bytes(_packed(content, bundle, precision))


class ByPlan:
    """A student's integer files, one for each plan; see `export.recovery`.

    Args: as of `convert`.
    """

    def __init__(self, student: Student, bundle: Bundle, precision: str, calibration: np.ndarray) -> None:
        self._bundle, self._precision = bundle, precision
        images = (calibration.astype(np.float32) - MEAN) / STD
        self._quantization = Quantization(_float_model(student, bundle), images)
        self.layers = self._quantization.layers

    def write(self, plan: Plan, destination: Path) -> None:
        """Write the .tflite file of a plan."""
        content = self._quantization.quantize(plan)
        destination.write_bytes(_packed(content, self._bundle, self._precision))


def _packed(content: bytes, bundle: Bundle, precision: str) -> bytes:
    """A .tflite file with the contract's input, and with what it says of itself."""
    if any("\n" in label or "\r" in label for label in bundle.labels):
        raise InputError("A label holds a line break, which a TFLite label file cannot: rename the class.")
    model = graph.read(content)
    graph.with_image_input(model, IMAGE)
    graph.name_output(model, PROBABILITIES)
    about = metadata.build(
        name=bundle.name, description=f"Image classifier of {len(bundle.labels)} classes, {precision}",
        version=bundle.fingerprint[:12], image=IMAGE, output=PROBABILITIES,
    )  # fmt: skip
    metadata.attach(model, about)
    return metadata.with_labels(graph.write(model), bundle.labels)


def _float_model(student: Student, bundle: Bundle) -> bytes:
    """The float .tflite with a float input, which every precision starts from; converted once a student."""
    if bundle.fingerprint not in _float_models:
        litert_torch = require("litert_torch")
        size = bundle.preprocessing.size
        network = _ChannelsLast(phone_safe(student.network)).eval()
        edge = litert_torch.convert(network, (torch.zeros(1, size, size, 3),))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "float.tflite"
            edge.export(str(path))
            _float_models.clear()
            _float_models[bundle.fingerprint] = path.read_bytes()
    return _float_models[bundle.fingerprint]


def _half_weights(content: bytes) -> bytes:
    """Weights stored in half precision; the runtime widens them when it loads the file."""
    quantizer = require("ai_edge_quantizer.quantizer")
    work = quantizer.Quantizer(bytearray(content))
    work.add_weight_only_config(".*", _everything(), num_bits=16, algorithm_key=_algorithm("FLOAT_CASTING"))
    return bytes(work.quantize().quantized_model)


def _everything() -> Any:
    return require("ai_edge_quantizer.qtyping").TFLOperationName.ALL_SUPPORTED


def _algorithm(name: str) -> Any:
    return getattr(require("ai_edge_quantizer.algorithm_manager").AlgorithmName, name)


class LiteRTRunner:
    """A .tflite file in LiteRT's interpreter with XNNPACK; see `export.runner.Runner`."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._interpreter = require("ai_edge_litert.interpreter").Interpreter(str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        [self._input], [self._output] = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.labels = metadata.read_labels(path)
        self.signature = {"input": _about(self._input), "output": _about(self._output)}
        self.evaluator = f"LiteRT {version('ai-edge-litert')} with XNNPACK"
        self.partitions = _partitions(self._interpreter._get_ops_details())

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 probabilities (N, classes)."""
        found = np.empty((len(pixels), int(self._output["shape"][-1])), np.float32)
        for row, image in zip(found, pixels):
            self._interpreter.set_tensor(self._input["index"], image[None])
            self._interpreter.invoke()
            row[:] = self._interpreter.get_tensor(self._output["index"])[0]
        return found


def open_runner(path: Path, threads: int = 1) -> LiteRTRunner:
    """Load a .tflite file."""
    return LiteRTRunner(path, threads)


def _about(details: dict[str, Any]) -> dict[str, Any]:
    shape = [int(side) for side in details["shape"]]
    return {"name": details["name"], "shape": shape, "dtype": np.dtype(details["dtype"]).name}


def _partitions(operators: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How the delegate divided the graph: the number of its partitions, and the operators it left out.

    The interpreter lists every operator of the file, then a DELEGATE for each partition. An operator is inside a
    partition if what it makes is made by a DELEGATE or is nobody's business outside: neither read by one nor left
    to an operator outside. So outside are those whose output a DELEGATE reads, or that make the graph's end.
    """
    delegates = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
    others = [operator for operator in operators if operator["op_name"] != "DELEGATE"]
    made = {int(tensor) for operator in delegates for tensor in operator["outputs"]}
    needed = {int(tensor) for operator in delegates for tensor in operator["inputs"]}
    needed |= _ends(others)
    outside = []
    for operator in reversed(others):
        outputs = {int(tensor) for tensor in operator["outputs"]}
        if not delegates or outputs & (needed - made):
            outside.append(operator["op_name"])
            needed |= {int(tensor) for tensor in operator["inputs"]}
    return {"delegated": len(delegates), "outside": outside[::-1]}


def _ends(operators: Sequence[dict[str, Any]]) -> set[int]:
    """Tensors that no operator reads: the graph's outputs."""
    read = {int(tensor) for operator in operators for tensor in operator["inputs"]}
    return {int(tensor) for operator in operators for tensor in operator["outputs"]} - read
