"""The constant expressions that hold compressed weights: how the file's integers become numbers.

They have no activations among their inputs, so `attar.export.mil.program` evaluates each once, when a file is
opened. Specification: MIL `constexpr_ops` of iOS16 and iOS18 (see `attar.export.mil.ops`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attar.export.mil.ops import operator


@operator
def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Any, scale: Any, axis: int) -> Tensor:
    """MIL `constexpr_affine_dequantize` (iOS16): scale (q - zero point), per tensor or along an axis."""
    along = [-1 if i == axis % quantized_data.dim() else 1 for i in range(quantized_data.dim())]
    scale, zero_point = (torch.as_tensor(value, dtype=torch.float32) for value in (scale, zero_point))
    scale, zero_point = (value.reshape(along) if value.dim() else value for value in (scale, zero_point))
    return scale * (quantized_data.float() - zero_point)


@operator
def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Any = None) -> Tensor:
    """MIL `constexpr_blockwise_shift_scale` (iOS18): scale (data - offset), one scale a block of every axis."""
    shifted = data.float() if offset is None else data.float() - _spread(offset.float(), data.shape)
    return _spread(scale, data.shape) * shifted


def constexpr_lut_to_dense_ios16(indices: Tensor, lut: Tensor, shape: Tensor) -> Tensor:
    """MIL `constexpr_lut_to_dense` (iOS16): indices are packed bits, lowest first, one table a tensor."""
    size = [int(length) for length in shape.tolist()]
    bits = int(math.log2(lut.numel()))
    stream = np.unpackbits(indices.numpy().astype(np.uint8), bitorder="little")[: bits * math.prod(size)]
    places = stream.reshape(-1, bits).astype(np.int64) @ (1 << np.arange(bits))
    return lut.reshape(-1)[torch.from_numpy(places)].reshape(size)


@operator
def constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, vector_axis: int | None = None, shape: Tensor | None = None
) -> Tensor:
    """MIL `constexpr_lut_to_dense` (iOS18): lut (blocks of every axis..., entries, vector length).

    A file for iOS16 gives `shape` instead and packs its indices.
    """
    if shape is not None:
        return constexpr_lut_to_dense_ios16(indices, lut, shape)
    entries, width = lut.shape[-2:]
    blocks = lut.shape[:-2]
    number = torch.arange(math.prod(blocks)).reshape(blocks)
    table = lut.reshape(-1, entries, width)
    values = table[_spread(number, indices.shape), indices.long()]
    if width == 1:
        return values.squeeze(-1)
    # A vector of consecutive elements along `vector_axis` stands for one index.
    axis = int(vector_axis or 0) % indices.dim()
    return values.movedim(-1, axis + 1).flatten(axis, axis + 1)


@operator
def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """MIL `constexpr_cast` (iOS16): fp16 stored, another float type computed."""
    return source_val.float()


def _spread(blocks: Tensor, shape: torch.Size) -> Tensor:
    """Repeat one value a block to one value an element of `shape`."""
    for axis, length in enumerate(shape):
        if blocks.shape[axis] not in (1, length):
            blocks = blocks.repeat_interleave(length // blocks.shape[axis], axis)
    return blocks.expand(shape)
