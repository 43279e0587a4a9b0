"""What the NPU's compiler gets wrong, written so that it gets it right."""

from __future__ import annotations

from typing import Any

import numpy as np

from attar.extras import require

WRONG, RIGHT = 9, 11
"""Sides of a kernel."""


def widen(model: Any) -> None:
    """Make kernels of 9×9 with stride 2 such of 11×11, in place: a border of zeros, which changes no value.

    In half precision, QNN for Hexagon v73 and newer computes a convolution of 9×9 and stride 2 wrong from 32 channels
    on, depthwise or not: what comes out has nothing to do with the right values, and nothing says so. All other square
    kernels up to 15×15, with strides up to 4, were right. MixNet has such kernels.

    Args:
        model: an ONNX graph (`onnx.ModelProto`) whose convolutions name their padding (no `auto_pad`).
    """
    numpy_helper = require("onnx.numpy_helper")
    weights = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        given = {each.name: each for each in node.attribute}
        weight = weights.get(node.input[1]) if node.op_type == "Conv" else None
        if weight is None or list(weight.dims[2:]) != [WRONG] * 2 or list(given["strides"].ints) != [2, 2]:
            continue
        border = (RIGHT - WRONG) // 2
        wide = np.pad(numpy_helper.to_array(weight), [(0, 0), (0, 0), (border, border), (border, border)])
        weight.CopyFrom(numpy_helper.from_array(wide, weight.name))
        given["kernel_shape"].ints[:] = [RIGHT] * 2
        given["pads"].ints[:] = [each + border for each in given["pads"].ints]
