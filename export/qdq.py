"""From a float .onnx file to one in integers, with QuantizeLinear and DequantizeLinear around each operator (QDQ).

onnxruntime's quantizer does the quantizing. A plan says what it is given: the ranges of activations, and which layers
stay float. Files for CPUs and for Qualcomm's NPU differ in their operators and weights.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from attar.export import ranges
from attar.export.plan import QuantizationPlan
from attar.extras import require

_ON_CPU = ["Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "GlobalAveragePool", "ReduceMean", "HardSigmoid"]
"""Operators in integers on a CPU: convolutions and matrix products, with what stands between them. Softmax in integers
would round probabilities to 1/256."""

_JOINED = ("Erf", "ReduceL2")
"""Parts of Gelu and of normalization, which the NPU takes whole."""

_WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operators that begin a layer, where their second input is a constant."""


@dataclass(frozen=True)
class Device:
    """What an integer file is for.

    Attributes:
        npu: for Qualcomm's NPU, which computes every operator in integers; otherwise for a CPU.
        bits: of activations, 8 or 16.
    """

    npu: bool = False
    bits: int = 8


class Quantization:
    """Quantizes one float file, by as many plans as are wanted; what they share is computed once.

    Args:
        content: a float .onnx file of uint8 images (batch, H, W, 3).
        images: uint8 images (N, H, W, 3) that ranges are taken from.
        device: what the integer files are for.
    """

    def __init__(self, content: bytes, images: np.ndarray, device: Device) -> None:
        self._content, self._images, self._device = content, images, device

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in the order they run."""
        return tuple(self._layers)

    def quantize(self, plan: QuantizationPlan) -> bytes:
        """The quantized file: weights per channel, activations per tensor, pixels as they are."""
        quantization = require("onnxruntime.quantization")
        kept = [node for layer in plan.keep_float for node in self._layers[layer]]
        kept += [node.name for node in _of_familiarity(self._model)]
        with tempfile.TemporaryDirectory() as folder:
            source, quantized = Path(folder) / "float.onnx", Path(folder) / "integer.onnx"
            source.write_bytes(self._prepared)
            settings = (self._for_npu if self._device.npu else self._for_cpu)(source, self._overrides(plan), kept)
            quantization.quantize(str(source), str(quantized), settings)
            model = require("onnx").load(quantized)
        _join_hard_swish(model)
        return bytes(model.SerializeToString())

    def _for_cpu(self, source: Path, overrides: dict[str, Any], kept: list[str]) -> Any:
        quantization = require("onnxruntime.quantization")
        return quantization.StaticQuantConfig(
            self._reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Weights of 7 bits: products of unsigned activations and signed 8-bit weights saturate in ONNX Runtime's
            # kernels for x86 without VNNI, and its other kernels then compute something else.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=_ON_CPU,
            nodes_to_exclude=kept,
            extra_options={"TensorQuantOverrides": overrides},
        )

    def _for_npu(self, source: Path, overrides: dict[str, Any], kept: list[str]) -> Any:
        types = require("onnxruntime.quantization").QuantType
        nodes = self._model.graph.node
        softmax = [node.name for node in nodes if node.op_type == "Softmax"]
        # The NPU takes signed weights in convolutions and matrix products, and unsigned ones in these.
        norms = {
            node.input[1]: [{"quant_type": types.QUInt8}] for node in nodes if node.op_type == "LayerNormalization"
        }
        return require("onnxruntime.quantization.execution_providers.qnn").get_qnn_qdq_config(
            str(source),
            self._reader(),
            activation_type={8: types.QUInt8, 16: types.QUInt16}[self._device.bits],
            weight_type=types.QInt8,
            per_channel=True,
            init_overrides=overrides | norms,
            add_qtype_converts=False,
            nodes_to_exclude=[*softmax, *kept],
        )

    @cached_property
    def _prepared(self) -> bytes:
        """The float file with the shapes of all tensors, which the quantizer goes by, and operators joined."""
        onnx = require("onnx")
        content = self._content if self._device.bits == 8 else with_wide_pixels(self._content)
        with tempfile.TemporaryDirectory() as folder:
            plain, prepared, fused = (Path(folder) / f"{name}.onnx" for name in ("float", "prepared", "fused"))
            plain.write_bytes(content)
            _with_shapes(plain, prepared, optimized=not self._device.npu)
            model = onnx.load(prepared)
            if self._device.npu and any(node.op_type in _JOINED for node in model.graph.node):
                del model.metadata_props[:]  # onnxruntime's helper fails on any
                npu = require("onnxruntime.quantization.execution_providers.qnn")
                npu.qnn_preprocess_model(model, str(fused))
                model = onnx.load(fused)
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"  # a plan names what stays float
        _rename_inlined(model)
        return bytes(model.SerializeToString())

    @cached_property
    def _model(self) -> Any:
        return require("onnx").load_model_from_string(self._prepared)

    @cached_property
    def _layers(self) -> dict[str, list[str]]:
        """Each layer and the names of its operators: a weighted one, and those that follow it up to the next."""
        constants = {each.name for each in self._model.graph.initializer}
        of_familiarity = {node.name for node in _of_familiarity(self._model)}
        layers: dict[str, list[str]] = {}
        for node in self._model.graph.node:
            if node.name in of_familiarity:
                continue
            if node.op_type in _WEIGHTED and node.input[1] in constants:
                layers[_unique(_place(node.input[1]), layers)] = [node.name]
            elif layers:
                layers[next(reversed(layers))].append(node.name)
        return layers

    @cached_property
    def _activations(self) -> dict[str, ranges.Activation]:
        return observe(self._model, self._images)

    def _overrides(self, plan: QuantizationPlan) -> dict[str, list[dict[str, Any]]]:
        """The range of every activation, in the quantizer's words; the pixel keeps its own scale."""
        limits = {name: ranges.estimated(plan.ranges, seen) for name, seen in self._activations.items()}
        types = require("onnxruntime.quantization").QuantType
        half = 1 << (self._device.bits - 1)
        pixel = {
            "quant_type": types.QUInt16 if self._device.bits == 16 else types.QUInt8,
            "scale": np.asarray(1 / half, np.float32),
            "zero_point": np.asarray(half, np.uint16 if self._device.bits == 16 else np.uint8),
        }
        return {
            **{name: [pixel] for name in _pixels(self._model) if name in _floats(self._model)},
            **{
                name: [{"rmin": np.float32(min(low, 0.0)), "rmax": np.float32(max(high, 0.0))}]
                for name, (low, high) in limits.items()
            },
        }

    def _reader(self) -> Any:
        """onnxruntime's calibration reader: of one image, as every range is given to it."""
        base: Any = require("onnxruntime.quantization").CalibrationDataReader
        first = iter([{self._model.graph.input[0].name: self._images[:1]}])

        class Reader(base):
            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(first, None)

        return Reader()


def _with_shapes(plain: Path, prepared: Path, optimized: bool) -> None:
    """Write a float file with the shapes of all its tensors.

    Optimizing takes HardSwish apart: its parts are quantized, which CPUs need. ONNX Runtime's inference of shapes fails
    on some operators (the least of several values, an Expand to a computed shape); that of ONNX does not.
    """
    prepare = require("onnxruntime.quantization.shape_inference").quant_pre_process
    try:
        prepare(str(plain), str(prepared), skip_optimization=not optimized)
    except Exception:  # of any class, TypeError among them
        prepare(str(plain), str(prepared), skip_optimization=not optimized, skip_symbolic_shape=True)


def _rename_inlined(model: Any) -> None:
    """Give the values of operators that ONNX Runtime took apart other names than it gives the next ones: a HardSwish
    that is joined again (`_join_hard_swish`) is taken apart once more when the file is loaded."""
    inlined = "_inlfunc_"
    for node in model.graph.node:
        node.input[:] = [name.replace(inlined, "apart.") for name in node.input]
        node.output[:] = [name.replace(inlined, "apart.") for name in node.output]
    for info in model.graph.value_info:
        info.name = info.name.replace(inlined, "apart.")


def _of_familiarity(model: Any) -> list[Any]:
    """The operators of all outputs but the first, without those that the first needs too: they stay float.

    Integers do not hold small differences of large numbers.
    """
    makers = {name: node for node in model.graph.node for name in node.output}

    def behind(output: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        names = [output]
        while names:
            node = makers.get(names.pop())
            if node is not None and node.name not in found:
                found[node.name] = node
                names.extend(node.input)
        return found

    first, *others = model.graph.output
    needed = behind(first.name)
    return [node for other in others for name, node in behind(other.name).items() if name not in needed]


def _join_hard_swish(model: Any) -> None:
    """Write x * HardSigmoid(x), where it stayed float, as HardSwish again: the NPU computes the parts wrongly."""
    halves = {node.output[0]: node for node in model.graph.node if node.op_type == "HardSigmoid"}
    readers = Counter(name for node in model.graph.node for name in node.input)
    for node in [node for node in model.graph.node if node.op_type == "Mul"]:
        half = next((halves[name] for name in node.input if name in halves), None)
        if half and {*node.input} == {half.input[0], half.output[0]} and _is_of_hard_swish(half):
            node.CopyFrom(require("onnx.helper").make_node("HardSwish", half.input, node.output, name=node.name))
            if readers[half.output[0]] == 1:
                model.graph.node.remove(half)


def _is_of_hard_swish(node: Any) -> bool:
    """Whether a HardSigmoid is max(0, min(1, x / 6 + 1 / 2)). Its defaults are others."""
    given = {attribute.name: attribute.f for attribute in node.attribute}
    return abs(given.get("alpha", 0.2) - 1 / 6) < 1e-6 and given.get("beta", 0.5) == 0.5


def observe(model: Any, images: np.ndarray) -> dict[str, ranges.Activation]:
    """The float results of a model's operators, by name, over uint8 images (N, H, W, 3).

    Without those of pixels that are only moved about: their scale is the pixel's own.
    """
    onnx, runtime = require("onnx"), require("onnxruntime")
    pixels, floats = _pixels(model), _floats(model)
    named = [name for node in model.graph.node for name in node.output if name in floats - pixels]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in named)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seen: dict[str, list[ranges.Activation]] = {name: [] for name in named}
    for image in images:
        for name, value in zip(named, session.run(named, {model.graph.input[0].name: image[None]})):
            seen[name].append(ranges.of_image(value, len(images), channels_last=False))
    return {name: ranges.joined(parts) for name, parts in seen.items()}


def _pixels(model: Any) -> set[str]:
    """Names of the tensors that hold pixels, as they are or moved about."""
    pixels = {model.graph.input[0].name}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Transpose") and node.input[0] in pixels:
            pixels.update(node.output)
    return pixels


def _floats(model: Any) -> set[str]:
    """Names of the float tensors of a graph whose shapes were inferred."""
    onnx = require("onnx")
    infos: Iterator[Any] = iter([*model.graph.value_info, *model.graph.output])
    return {each.name for each in infos if each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}


def with_wide_pixels(content: bytes) -> bytes:
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


def _place(weight: str) -> str:
    """`network.backbone.blocks.2.0.conv_dw.weight` in short."""
    return weight.removeprefix("network.").removesuffix(".weight")


def _unique(name: str, taken: dict[str, Any]) -> str:
    names = (name if number == 1 else f"{name} ({number})" for number in range(1, len(taken) + 2))
    return next(each for each in names if each not in taken)
