"""LiteRT (TFLite): a student as a .tflite file, and running one.

Every file takes a uint8 NHWC image and gives float32 probabilities, whatever its precision: that is what
MediaPipe, ML Kit and LiteRT.js all accept. Softmax stays in float, because an int8 softmax would round
probabilities to 1/256.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attar.bundle import Bundle
from attar.errors import InputError
from attar.export.artifact_cache import shared
from attar.export.classifier import FAMILIARITY, PROBABILITIES, WORDS, Classifier, Outputs
from attar.export.metadata import about, in_words
from attar.export.plan import TOOLS, QuantizationPlan
from attar.export.runners.litert import LiteRTRunner
from attar.export.subprocess_runner import SubprocessRunner
from attar.export.tflite import arm, evaluators, graph, metadata, versions
from attar.export.tflite.layers import Layer, layers
from attar.export.tflite.quantize import ATTENTION, Quantization, pattern_of
from attar.export.tflite.quantize import FAMILIARITY as FAMILIAR
from attar.export.web import gpu
from attar.extras import require
from attar.preprocessing import MEAN, STD
from attar.students import Student
from attar.students.rewrites import differ, phone_safe

IMAGE = "image"
"""Name of the input in a file written here."""

BY_PLAN = ("int8", "int8+fp")
"""Precisions that are quantized by plan: `convert` takes the plain one, `attar.export.recovery` finds another."""


class _ChannelsLast(Classifier):
    """The classifier as phones feed it: normalized images (1, H, W, 3)."""

    def forward(self, images: torch.Tensor) -> Outputs:
        """Normalized NHWC images -> as its parent's."""
        return super().forward(images.permute(0, 3, 1, 2))


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write a .tflite file.

    Args:
        student: the model, in evaluation mode.
        bundle: its labels, preprocessing and provenance.
        precision: `fp32`, `fp16` (half-size weights), `w8` (8-bit weights), `dyn8` (8-bit weights, and activations
            where the kernels quantize them while they run) or `int8` (weights and activations; `int8+fp`: some
            layers may stay float).
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        destination: the file to write.
    """
    if precision in BY_PLAN:
        return ByPlan(student, bundle, precision, calibration).write(QuantizationPlan(), destination)
    _check_labels(bundle)
    content = convert_network(student, bundle, precision, calibration)
    destination.write_bytes(_packed(content, bundle, precision))


class ByPlan:
    """A student's integer files, one for each plan; see `attar.export.recovery`.

    Args: as of `convert`.
    """

    def __init__(self, student: Student, bundle: Bundle, precision: str, calibration: np.ndarray) -> None:
        _check_labels(bundle)
        self._bundle, self._precision = bundle, precision
        images = (calibration.astype(np.float32) - MEAN) / STD
        self._quantization = Quantization(_float_model(student, bundle, integer=True), images)
        self.layers, self.tools = self._quantization.layers, TOOLS
        self._content = lru_cache(maxsize=1)(self._packed)

    def network(self, plan: QuantizationPlan) -> bytes:
        """The bare network in integers: normalized images in int8 to float32 probabilities."""
        return self._quantization.quantize(plan)

    def _packed(self, plan: QuantizationPlan) -> bytes:
        return _packed(self.network(plan), self._bundle, self._precision)

    def write(self, plan: QuantizationPlan, destination: Path) -> None:
        """Write the .tflite file of a plan."""
        destination.write_bytes(self._content(plan))

    def predict(self, plan: QuantizationPlan, images: np.ndarray) -> np.ndarray:
        """What the file of a plan answers to uint8 images (N, H, W, 3): probabilities (N, classes)."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            self.write(plan, path)
            return open_runner(path).predict(images)


def _check_labels(bundle: Bundle) -> None:
    """Refuse what a file cannot hold before the minutes that a conversion takes."""
    if any("\n" in label or "\r" in label for label in bundle.labels):
        raise InputError("A label holds a line break, which a TFLite label file cannot: rename the class.")


def _packed(content: bytes, bundle: Bundle, precision: str) -> bytes:
    """A .tflite file with the contract's input, and with what it says of itself."""
    model = graph.read(content)
    graph.with_image_input(model, IMAGE)
    graph.name_outputs(model, [PROBABILITIES, FAMILIARITY][: len(model.subgraphs[0].outputs)])
    versions.declare(model)
    facts = about(bundle, f"litert:{precision}")
    more = WORDS if len(model.subgraphs[0].outputs) > 1 else {}
    built = metadata.build(facts, image=IMAGE, output=PROBABILITIES, words=in_words(bundle), more=more)
    metadata.attach(model, built)
    return metadata.with_files(graph.write(model), bundle.labels, facts)


def convert_network(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray) -> bytes:
    """The bare network as a .tflite file: normalized NHWC images, float32 (`int8`: int8), to float32 probabilities."""
    if precision in BY_PLAN:
        return ByPlan(student, bundle, precision, calibration).network(QuantizationPlan())
    return with_weights(_float_model(student, bundle, integer=False), precision)


def _float_model(student: Student, bundle: Bundle, integer: bool) -> bytes:
    """The float .tflite that every precision starts from, spelled for float or integer kernels; converted once."""
    integer = integer and differ(student.network)  # else both are spelled alike

    def converted() -> bytes:
        litert_torch = require("litert_torch")
        size = bundle.preprocessing.size
        network = _ChannelsLast(phone_safe(student.answering(), integer=integer)).eval()
        edge = litert_torch.convert(network, (torch.zeros(1, size, size, 3),))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "float.tflite"
            edge.export(str(path))
            return path.read_bytes()

    return shared(f"{'integer' if integer else 'float'} tflite {bundle.network_fingerprint}", converted)


_FLOAT_SHARE = 0.01
"""Share of all weights that `w8` and `dyn8` may keep float, for the smallest layers: the stem, the first depthwise
convolutions and squeeze-excites, a classifier of few classes. Few bytes, and most of the error."""


def with_weights(content: bytes, precision: str) -> bytes:
    """Smaller weights, without calibration: `fp16`, `w8` or `dyn8`; `fp32` stays as it is."""
    if precision == "fp32":
        return content
    names = require("ai_edge_quantizer.qtyping").TFLOperationName
    work = require("ai_edge_quantizer.quantizer").Quantizer(bytearray(content))
    if precision == "fp16":
        work.add_weight_only_config(".*", _everything(), num_bits=16, algorithm_key=_algorithm("FLOAT_CASTING"))
    elif precision == "w8":
        work.add_weight_only_config(".*", _everything(), num_bits=8)
    else:
        work.add_dynamic_config(".*", _everything(), num_bits=8)
        # XNNPACK has no dynamic depthwise convolution: each one would leave the delegate for a slower kernel.
        work.add_weight_only_config(".*", names.DEPTHWISE_CONV_2D, num_bits=8)
        work.update_quantization_recipe(ATTENTION, _everything(), algorithm_key=_algorithm("NO_QUANTIZE"))
    if precision != "fp16":
        work.update_quantization_recipe(FAMILIAR, _everything(), algorithm_key=_algorithm("NO_QUANTIZE"))
    small = _smallest(layers(graph.read(content))) if precision != "fp16" else []
    if small:
        work.update_quantization_recipe(pattern_of(small), _everything(), algorithm_key=_algorithm("NO_QUANTIZE"))
    return bytes(work.quantize().quantized_model)


def _smallest(of: Sequence[Layer]) -> list[Layer]:
    """The smallest layers, as many as together hold `_FLOAT_SHARE` of the weights."""
    ranked = sorted(of, key=lambda layer: layer.weight.size)
    total = np.cumsum([layer.weight.size for layer in ranked])
    return [layer for layer, so_far in zip(ranked, total) if so_far <= _FLOAT_SHARE * total[-1]]


def _everything() -> Any:
    return require("ai_edge_quantizer.qtyping").TFLOperationName.ALL_SUPPORTED


def _algorithm(name: str) -> Any:
    return getattr(require("ai_edge_quantizer.algorithm_manager").AlgorithmName, name)


def open_runner(path: Path, threads: int = 1) -> LiteRTRunner:
    """Load a .tflite file."""
    return LiteRTRunner(path, threads)


def second_opinions(path: Path) -> dict[str, Callable[[], SubprocessRunner]]:
    """Other evaluators of a .tflite file that this machine has: TensorFlow's own kernels, written for clarity."""
    return {evaluators.TENSORFLOW: partial(evaluators.tensorflow, path)} if evaluators.has_tensorflow() else {}


def arm_opinions(path: Path) -> dict[str, Callable[[], SubprocessRunner]]:
    """The ARM kernels of LiteRT, which phones run, on an emulated ARM; nothing to add where this machine is one."""
    return {} if arm.native() else {evaluators.ARM: partial(evaluators.arm, path)}


def gpu_opinions(path: Path) -> dict[str, Callable[[], gpu.GpuRunner]]:
    """LiteRT's GPU accelerator, in a browser."""
    return {gpu.NAME: partial(gpu.GpuRunner, path)}


def min_runtime(path: Path) -> str | None:
    """The oldest TFLite runtime that runs a file; None if it is not known."""
    return versions.minimum(graph.read(path.read_bytes()))
