"""An ONNX graph that was traced with one size of the batch, made to take any.

Tracing with a free size costs torch.export and the exporter two to four times the time: every operator's arithmetic of
shapes is traced too. A classifier treats each image alone, so its graph has the size in few places, and a size that
nothing else has (`TRACED`) tells them apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attar.extras import require

TRACED = 211
"""The size that a graph is traced with: a prime, and no usual count of channels or classes is a multiple."""

NAME = "batch"
"""What the free size is called."""


def free(model: Any) -> bool:
    """Replace the size `TRACED` by a free one, in place. False: the graph may depend on it elsewhere, and is of no use.

    The size may stand in target shapes of Reshape and Expand. A graph with other constants that are multiples of it is
    refused, also if they mean something else.

    Args:
        model: an ONNX graph with the shapes of its tensors, all of fixed sizes.
    """
    graph = model.graph
    described = (*graph.input, *graph.value_info, *graph.output)
    shapes = {each.name: [side.dim_value for side in each.type.tensor_type.shape.dim] for each in described}
    constants = {each.name for each in graph.initializer}
    for node in graph.node:
        if node.op_type in _TARGETS and node.input[1] in constants:
            target = _TARGETS[node.op_type](shapes.get(node.input[0]), shapes.get(node.output[0]))
            if target is None:
                return False
            node.input[1] = _constant(model, target)
    used = {name for node in graph.node for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    if any(map(_depends, kept)) or any(map(_has_constants, graph.node)):
        return False
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        batch.Clear()
        batch.dim_param = NAME
    return True


def _reshaped(before: list[int] | None, after: list[int] | None) -> list[int] | None:
    """The target shape of a Reshape: the one side that depends on the size is left to be inferred."""
    if not after or not all(after) or sum(map(_is_multiple, after)) > 1:
        return None
    return [-1 if _is_multiple(side) else side for side in after]


def _expanded(before: list[int] | None, after: list[int] | None) -> list[int] | None:
    """The target shape of an Expand: where it depends on the size its input must have it, and 1 keeps that."""
    if not before or not after or not all(after):
        return None
    before = [1] * (len(after) - len(before)) + before
    if any(_is_multiple(side) and side != had for had, side in zip(before, after)):
        return None
    return [1 if _is_multiple(side) else side for side in after]


_TARGETS = {"Reshape": _reshaped, "Expand": _expanded}
"""Operators whose second input is the shape of their result."""


def _constant(model: Any, shape: list[int]) -> str:
    """The name of a constant of the graph that holds a shape."""
    name = "shape." + ".".join(map(str, shape))
    if all(each.name != name for each in model.graph.initializer):
        model.graph.initializer.append(require("onnx.numpy_helper").from_array(np.array(shape, np.int64), name))
    return name


def _is_multiple(number: int) -> bool:
    return number > 0 and number % TRACED == 0


def _depends(constant: Any) -> bool:
    """Whether a tensor may hold the size, as a side or as a number."""
    onnx = require("onnx")
    if any(map(_is_multiple, constant.dims)):
        return True
    whole = constant.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    return whole and any(map(_is_multiple, onnx.numpy_helper.to_array(constant).flat))


def _has_constants(node: Any) -> bool:
    """Whether an operator's attributes may hold the size."""
    return any(
        any(map(_is_multiple, (attribute.i, *attribute.ints))) or (attribute.HasField("t") and _depends(attribute.t))
        for attribute in node.attribute
    )
