"""What a .tflite file has to do for one image: multiply-adds and bytes moved, operator by operator.

Bytes are those of an operator's inputs, weights and outputs, each counted once where it is read or written. Runtimes
fuse operators and keep tensors in caches, so this is what there is to move, not what a memory bus sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from attar.extras import require


@dataclass(frozen=True)
class Operator:
    """One operator of a graph.

    Attributes:
        name: of its output tensor.
        kind: such as `CONV_2D`.
        macs: multiply-adds; 0 for operators that have none, such as ADD.
        bytes: read and written.
        integer: its input is int8.
    """

    name: str
    kind: str
    macs: int
    bytes: int
    integer: bool


def work_of(path: Path) -> list[Operator]:
    """The operators of a .tflite file, in the order they run."""
    from attar.export.tflite.graph import read
    from attar.export.tflite.layers import kind_of, tensor_name

    model = read(path.read_bytes())
    tensors = model.subgraphs[0].tensors
    types = require("ai_edge_litert.schema_py_generated").TensorType
    rows = []
    for operator in model.subgraphs[0].operators:
        inputs = [tensors[index] for index in operator.inputs if index >= 0]
        outputs = [tensors[index] for index in operator.outputs]
        kind = kind_of(model, operator)
        moved = sum(_bytes(types, tensor) for tensor in [*inputs, *outputs])
        integer = bool(inputs) and inputs[0].type == types.INT8
        name = tensor_name(model, operator.outputs[0])
        rows.append(Operator(name, kind, _macs(kind, inputs, outputs), moved, integer))
    return rows


def _macs(kind: str, inputs: list[Any], outputs: list[Any]) -> int:
    made = prod(_shape(outputs[0]))
    if kind == "CONV_2D":  # weights: output channels, height, width, input channels
        return made * prod(_shape(inputs[1])[1:])
    if kind == "DEPTHWISE_CONV_2D":  # weights: 1, height, width, channels
        return made * prod(_shape(inputs[1])[1:3])
    if kind in ("FULLY_CONNECTED", "BATCH_MATMUL"):
        return made * _shape(inputs[0])[-1]
    return 0


def _shape(tensor: Any) -> list[int]:
    return [int(side) for side in tensor.shape] if tensor.shape is not None else []


def _bytes(types: Any, tensor: Any) -> int:
    sizes = {types.FLOAT32: 4, types.INT32: 4, types.FLOAT16: 2, types.INT64: 8, types.INT4: 0.5}
    return int(np.ceil(prod(_shape(tensor)) * sizes.get(tensor.type, 1)))
