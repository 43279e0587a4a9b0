"""Bias correction of a float .tflite graph that is to be quantized (Nagel et al., arXiv 1906.04721, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attar.export.tflite.layers import Layer, drop_unread, layers, set_input


def correct_biases(model: Any, rounded: Sequence[Layer], means: Mapping[str, np.ndarray]) -> None:
    """Change biases, in place, so that they undo the mean error of rounded weights.

    Weights W, rounded to W + e, shift a layer's output by e * E[x] on average. The border's zeros are not accounted
    for, as in the paper.

    Args:
        model: the float graph.
        rounded: the same layers, of the file quantized from it.
        means: E[x]: of each activation by name, the mean of each channel (C,) on calibration images.
    """
    for layer, other in zip(layers(model), rounded, strict=True):
        mean = means[layer.input]
        if len(layer.operator.inputs) < 3 or len(mean) != layer.weight.shape[layer.input_axis]:
            continue  # no place for a bias, or a matrix product over a flattened image
        error = (other.weight - layer.weight) * mean
        shift = error.sum(axis=tuple(axis for axis in range(error.ndim) if axis != layer.output_axis))
        set_input(model, layer.operator, 2, (0.0 if layer.bias is None else layer.bias) - shift)
    drop_unread(model)
