"""Cross-layer equalization of a float .tflite graph (Nagel et al., arXiv 1906.04721, section 4.1).

Where one layer feeds only another, and what stands between commutes with a positive factor (nothing, ReLU, zero
padding), channel i of the first may be divided by s_i and the second's weights for it multiplied by s_i: the
network computes the same. With s_i = sqrt(r1_i r2_i) / r2_i, r the ranges of both layers' weights for that channel,
both become equal, so that the channels of the activation between them are of like size and one scale suits all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attar.export.tflite.layers import LINEAR, NONE, RELU, Layer, drop_unread, kind_of, layers, set_input

SWEEPS = 20
"""Passes over all pairs, at most: neighbouring pairs share a layer, so equalizing one disturbs the other."""

SETTLED = 1e-2
"""A pass that changes no channel by more than this share is the last."""


def equalize(model: Any) -> int:
    """Equalize all pairs of layers that allow it exactly, in place -> the number of pairs."""
    linked = pairs(model)
    parameters = {layer.name: _Parameters.of(layer) for pair in linked for layer in pair}
    for _ in range(SWEEPS):
        changes = [
            _equalize(first, second, parameters[first.name], parameters[second.name]) for first, second in linked
        ]
        if max(changes, default=0.0) < SETTLED:
            break
    for layer in {layer.name: layer for pair in linked for layer in pair}.values():
        own = parameters[layer.name]
        set_input(model, layer.operator, 1, own.weight)
        if own.bias is not None:
            set_input(model, layer.operator, 2, own.bias)
    drop_unread(model)
    return len(linked)


def pairs(model: Any) -> list[tuple[Layer, Layer]]:
    """(first, second): layers where the second alone reads the first, through what commutes with a factor."""
    readers: dict[int, list[Any]] = {}
    for operator in model.subgraphs[0].operators:
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(operator)
    ends = {int(index) for index in model.subgraphs[0].outputs}
    by_operator = {id(layer.operator): layer for layer in layers(model)}
    linked = []
    for layer in by_operator.values():
        here = int(layer.operator.outputs[0])
        reader = _only(readers.get(here, []), here in ends)
        if reader is not None and kind_of(model, reader) == "PAD" and int(reader.inputs[0]) == here:
            here = int(reader.outputs[0])
            reader = _only(readers.get(here, []), here in ends)
        second = by_operator.get(id(reader))
        if layer.activation in (NONE, RELU) and second is not None and _matches(model, layer, second, here):
            linked.append((layer, second))
    return linked


def _only(readers: list[Any], is_end: bool) -> Any:
    return readers[0] if len(readers) == 1 and not is_end else None


def _matches(model: Any, first: Layer, second: Layer, between: int) -> bool:
    """Whether both count the same channels: a matrix product after a convolution may see several places of each."""
    return bool(
        int(second.operator.inputs[0]) == between
        and (second.kind == LINEAR) == (first.kind == LINEAR)
        and first.weight.shape[first.output_axis] == second.weight.shape[second.input_axis]
    )


@dataclass
class _Parameters:
    """A layer's weights and bias in double precision."""

    weight: np.ndarray
    bias: np.ndarray | None

    @classmethod
    def of(cls, layer: Layer) -> _Parameters:
        return cls(layer.weight.astype(np.float64), None if layer.bias is None else layer.bias.astype(np.float64))


def _equalize(first: Layer, second: Layer, one: _Parameters, two: _Parameters) -> float:
    """Equalize one pair in place -> the largest relative change of a channel."""
    range1, range2 = _range(one.weight, first.output_axis), _range(two.weight, second.input_axis)
    # A channel that is dead on either side stays as it is.
    alive = (range1 > 0) & (range2 > 0)
    scale = np.ones_like(range1)
    scale[alive] = np.sqrt(range1[alive] / range2[alive])
    one.weight = one.weight / _along(scale, first.output_axis, one.weight.ndim)
    one.bias = None if one.bias is None else one.bias / scale
    two.weight = two.weight * _along(scale, second.input_axis, two.weight.ndim)
    return float(np.abs(np.log(scale)).max(initial=0.0))


def _range(weight: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))


def _along(scale: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    return scale.reshape([-1 if i == axis else 1 for i in range(dimensions)])
