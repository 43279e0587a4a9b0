"""From a float .tflite file to one in 8-bit integers, by a plan.

ai-edge-quantizer does the quantizing. A plan says what it is given: the ranges of activations, how weights are
rounded, which layers stay float, and whether the float graph is made easier to quantize first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from attar.export import ranges
from attar.export.plan import QuantizationPlan
from attar.export.tflite import graph
from attar.export.tflite.bias import correct_biases
from attar.export.tflite.equalize import equalize
from attar.export.tflite.islands import islands
from attar.export.tflite.layers import CONV, DEPTHWISE, LINEAR, Layer, kind_of, layers, tensor_name
from attar.export.tflite.observe import observe
from attar.extras import require
from attar.preprocessing import MEAN, STD
from attar.students.attention import Attend
from attar.students.familiarity import Familiarity

ATTENTION = f".*{Attend.__name__}.*"
"""The quantizer's pattern for operators of attention: the converter names tensors after their modules."""
FAMILIARITY = f".*{Familiarity.__name__}.*"
"""The same for those of the familiarity, whose small differences of large numbers integers do not hold."""


class Quantization:
    """Quantizes one float file, by as many plans as are wanted; what they share is computed once.

    Args:
        content: the float file: one input, normalized images (1, H, W, 3).
        images: normalized images (N, H, W, 3), float32, that ranges are taken from.
    """

    def __init__(self, content: bytes, images: np.ndarray) -> None:
        self._content = content
        self._images = images

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in the order they run."""
        return tuple(layer.name for layer in self._layers)

    def quantize(self, plan: QuantizationPlan) -> bytes:
        """The quantized file, with an int8 input of scale 1/128 and zero point 0 unless its first layer is float."""
        if plan.equalize:
            return self._equalized.quantize(replace(plan, equalize=False))
        quantized = self._quantize(self._content, plan)
        if plan.correct_bias:
            quantized = self._quantize(self._with_corrected_biases(quantized), plan)
        return quantized

    @cached_property
    def _layers(self) -> list[Layer]:
        return layers(graph.read(self._content))

    @cached_property
    def _other_outputs(self) -> list[str]:
        """The quantizer's patterns for the operators that make outputs after the first."""
        model = graph.read(self._content)
        names = [tensor_name(model, index) for index in model.subgraphs[0].outputs[1:]]
        return [f"^{re.escape(name)};?$" for name in names]

    @cached_property
    def _islands(self) -> list[str]:
        """Names of what the operators without integer kernels give."""
        model = graph.read(self._content)
        operators = model.subgraphs[0].operators
        return [tensor_name(model, each) for number in islands(model) for each in operators[number].outputs]

    @cached_property
    def _one(self) -> dict[str, Any]:
        """The quantizer's ranges of one image: which tensors it wants to know of, and in what form."""
        work = self._recipe(self._content, QuantizationPlan())
        [(signature, tensors)] = _signatures(self._content).items()
        ranges: dict[str, Any] = work.calibrate({signature: [{tensors["inputs"][0]: self._images[:1]}]}, num_threads=2)
        return ranges

    @cached_property
    def _activations(self) -> dict[str, ranges.Activation]:
        return observe(self._content, self._images)

    @cached_property
    def _equalized(self) -> Quantization:
        model = graph.read(self._content)
        equalize(model)
        return Quantization(graph.write(model), self._images)

    def _ranges(self, kind: str) -> dict[str, Any]:
        own = {name: dict(value) for name, value in self._one.items()}
        for name, seen in self._activations.items():
            if own.get(name):
                low, high = ranges.estimated(kind, seen)
                own[name]["min"] = np.full_like(own[name]["min"], low)
                own[name]["max"] = np.full_like(own[name]["max"], high)
        _pin_input(self._content, own)
        return own

    def _recipe(self, content: bytes, plan: QuantizationPlan) -> Any:
        work = require("ai_edge_quantizer.quantizer").Quantizer(bytearray(content))
        names = require("ai_edge_quantizer.qtyping").TFLOperationName
        algorithm = require("ai_edge_quantizer.algorithm_manager").AlgorithmName
        work.add_static_config(".*", names.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        if plan.weights == "octav":
            for kind in (CONV, DEPTHWISE, LINEAR):
                work.add_static_config(
                    ".*", names(kind), activation_num_bits=8, weight_num_bits=8, algorithm_key=algorithm.OCTAV
                )
        # Softmax in integers would round probabilities to 1/256.
        for operation in (names.SOFTMAX, names.OUTPUT):
            work.update_quantization_recipe(".*", operation, algorithm_key=algorithm.NO_QUANTIZE)
        # XNNPACK has no int8 product of two activations: attention is an island of float inside its partition.
        # The last operator of the familiarity is named after the output.
        for those in (ATTENTION, FAMILIARITY, *self._other_outputs):
            work.update_quantization_recipe(those, names.ALL_SUPPORTED, algorithm_key=algorithm.NO_QUANTIZE)
        if self._islands:
            work.update_quantization_recipe(
                pattern(self._islands), names.ALL_SUPPORTED, algorithm_key=algorithm.NO_QUANTIZE
            )
        kept = [layer for layer in self._layers if layer.name in plan.keep_float]
        if kept:
            work.update_quantization_recipe(pattern_of(kept), names.ALL_SUPPORTED, algorithm_key=algorithm.NO_QUANTIZE)
        return work

    def _quantize(self, content: bytes, plan: QuantizationPlan) -> bytes:
        return bytes(self._recipe(content, plan).quantize(self._ranges(plan.ranges)).quantized_model)

    def _with_corrected_biases(self, quantized: bytes) -> bytes:
        model = graph.read(self._content)
        means = {name: seen.means for name, seen in self._activations.items()}
        correct_biases(model, layers(graph.read(quantized)), means)
        return graph.write(model)


def pattern_of(these: Sequence[Layer]) -> str:
    """The quantizer's pattern for the operators of some layers."""
    return pattern([output for layer in these for output in layer.outputs])


def pattern(outputs: Sequence[str]) -> str:
    """The same for the operators that give some tensors."""
    return f"^(?:{'|'.join(map(re.escape, outputs))});?$"


def _pin_input(content: bytes, ranges: dict[str, Any]) -> None:
    """Set the range of the image to that of all pixels: exactly scale 1/128, zero point 0, as the contract says.

    What only pads the image carries the same range.
    """
    model = graph.read(content)
    first = model.subgraphs[0]
    pinned = {int(first.inputs[0])}
    for operator in first.operators:
        if int(operator.inputs[0]) in pinned and kind_of(model, operator) in ("PAD", "PADV2"):
            pinned.add(int(operator.outputs[0]))
    for tensor in pinned:
        here = ranges[first.tensors[tensor].name.decode()]
        here["min"] = np.full_like(here["min"], (0 - MEAN) / STD)
        here["max"] = np.full_like(here["max"], (255 - MEAN) / STD)


def _signatures(content: bytes) -> dict[str, Any]:
    interpreter = require("ai_edge_litert.interpreter").Interpreter(model_content=content)
    return dict(interpreter.get_signature_list())
