"""The layers of a float .tflite graph, and their weights as arrays.

A layer is a convolution, depthwise convolution or matrix product, together with the operators that follow it up
to the next one: its activation function, pooling, additions. So every operator belongs to one layer, but for
those before the first.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from attar.extras import require
from attar.students.familiarity import Familiarity
from attar.students.rewrites import PLACE

CONV, DEPTHWISE, LINEAR = "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"

NONE, RELU = "NONE", "RELU"
"""Fused activation functions that commute with a positive factor."""


@dataclass(frozen=True)
class Layer:
    """A weighted operator of the graph.

    Attributes:
        name: where it stands in the student, such as `backbone.blocks.2.0.conv_dw`.
        kind: `CONV`, `DEPTHWISE` or `LINEAR`.
        activation: the fused activation function, as the schema names it.
        operator: the operator's object in the graph.
        input: name of the activation it reads.
        weight: float32, (O, H, W, I), (1, H, W, C) or (O, I) by kind; of an int8 file, what the integers stand for.
        bias: float32 (O,), or None; of an int8 file always None.
        outputs: names of what it and the operators that follow it compute.
    """

    name: str
    kind: str
    activation: str
    operator: Any
    input: str
    weight: np.ndarray
    bias: np.ndarray | None
    outputs: tuple[str, ...]

    @property
    def output_axis(self) -> int:
        """The axis of the weights that counts output channels."""
        return 3 if self.kind == DEPTHWISE else 0

    @property
    def input_axis(self) -> int:
        """The axis of the weights that counts input channels."""
        return 1 if self.kind == LINEAR else 3


def layers(model: Any) -> list[Layer]:
    """The layers of a model's one graph, in the order they run; without what computes the familiarity."""
    rows: list[tuple[Any, np.ndarray, list[Any]]] = []
    for operator in model.subgraphs[0].operators:
        if Familiarity.__name__ in tensor_name(model, operator.outputs[0]):
            continue
        weight = constant(model, operator, 1) if kind_of(model, operator) in (CONV, DEPTHWISE, LINEAR) else None
        if weight is not None:
            rows.append((operator, weight, [operator]))
        elif rows:
            rows[-1][2].append(operator)
    made: list[Layer] = []
    for operator, weight, members in rows:
        outputs = tuple(tensor_name(model, index) for member in members for index in member.outputs)
        made.append(
            Layer(
                _unique(place(outputs[0]), made),
                kind_of(model, operator),
                activation_of(operator),
                operator,
                tensor_name(model, operator.inputs[0]),
                weight,
                constant(model, operator, 2),
                outputs,
            )
        )
    return made


def tensor_name(model: Any, index: int) -> str:
    """The name of a tensor of the graph."""
    return str(model.subgraphs[0].tensors[index].name.decode())


def kind_of(model: Any, operator: Any) -> str:
    """The operator's name in the schema."""
    return _names("BuiltinOperator")[model.operatorCodes[operator.opcodeIndex].builtinCode]


def activation_of(operator: Any) -> str:
    """The fused activation function's name in the schema."""
    return _names("ActivationFunctionType")[operator.builtinOptions.fusedActivationFunction]


def constant(model: Any, operator: Any, slot: int) -> np.ndarray | None:
    """A constant input as float32, dequantized if it is int8; None if it is computed, missing or of another type."""
    if slot >= len(operator.inputs) or operator.inputs[slot] < 0:
        return None
    tensor = model.subgraphs[0].tensors[operator.inputs[slot]]
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data):
        return None
    types = require("ai_edge_litert.schema_py_generated").TensorType
    shape = tuple(tensor.shape)
    if tensor.type == types.FLOAT32:
        return np.frombuffer(bytes(data), np.float32).reshape(shape)
    if tensor.type != types.INT8:
        return None
    about = tensor.quantization
    along = [-1 if axis == about.quantizedDimension else 1 for axis in range(len(shape))]
    scale, zero = (np.reshape(value, along) for value in (about.scale, about.zeroPoint))
    return ((np.frombuffer(bytes(data), np.int8).reshape(shape) - zero) * scale).astype(np.float32)


def set_input(model: Any, operator: Any, slot: int, value: np.ndarray) -> None:
    """Give an operator, in place, another float32 constant at one of its inputs: a tensor of its own.

    Constants of equal content are shared by the converter, so the old one is never written to.
    """
    schema = require("ai_edge_litert.schema_py_generated")
    graph = model.subgraphs[0]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(value, np.float32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    taken = {each.name for each in graph.tensors}
    names = (f"{tensor_name(model, operator.outputs[0])}/{slot}.{n}".encode() for n in itertools.count())
    tensor.name = next(name for name in names if name not in taken)
    tensor.shape, tensor.hasRank = np.array(value.shape, np.int32), True
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, len(model.buffers) - 1
    graph.tensors.append(tensor)
    operator.inputs = np.array(operator.inputs, np.int32)
    operator.inputs[slot] = len(graph.tensors) - 1


def drop_unread(model: Any) -> None:
    """Remove, in place, the constants that no operator reads (any more)."""
    graph = model.subgraphs[0]
    sides = [(graph, "inputs"), (graph, "outputs")]
    sides += [(operator, side) for operator in graph.operators for side in ("inputs", "outputs")]
    used = sorted({int(index) for owner, side in sides for index in getattr(owner, side) if index >= 0})
    place = {-1: -1, **{index: new for new, index in enumerate(used)}}
    dropped = {tensor.buffer for tensor in graph.tensors}
    graph.tensors = [graph.tensors[index] for index in used]
    for buffer in dropped - {tensor.buffer for tensor in graph.tensors}:
        model.buffers[buffer].data = None
    for owner, side in sides:
        setattr(owner, side, np.array([place[int(index)] for index in getattr(owner, side)], np.int32))
    for signature in model.signatureDefs or []:
        for item in (*signature.inputs, *signature.outputs):
            item.tensorIndex = place[item.tensorIndex]


def place(tensor: str) -> str:
    """`...;;attar.export.litert._ChannelsLast/torch.nn.modules.conv.Conv2d_blocks-2-0-conv_pw;1` in short.

    The converter names a tensor after the modules that made it, each as class and attribute, the first of them last.
    """
    names = re.findall(r"\.[A-Za-z0-9]+_([\w-]+)(?=;|$)", tensor)
    return names[-1].replace(PLACE, ".") if names else tensor


def _unique(name: str, made: list[Layer]) -> str:
    taken = {layer.name for layer in made}
    return next(
        candidate for n in range(1, len(made) + 2) if (candidate := name if n == 1 else f"{name} ({n})") not in taken
    )


def _names(enumeration: str) -> dict[int, str]:
    values = vars(getattr(require("ai_edge_litert.schema_py_generated"), enumeration))
    return {value: name for name, value in values.items() if isinstance(value, int)}
