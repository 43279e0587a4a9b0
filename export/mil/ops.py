"""The operators of Core ML's ML programs, one small function each, computed with torch.

The specification is the operator reference of MIL (Model Intermediate Language):
https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html.
Every docstring names the operator and the first release of the specification that has this form.

A function takes the operator's inputs by their MIL names and returns its output (or a tuple of them).
Tensors are float32 (holding fp16 values where the program says fp16; see `attar.export.mil.program.HALF`), int32,
int8, uint8 or bool; constants that are no tensors in the program come as plain Python values. Rounding to
the declared type is the caller's, `attar.export.mil.program`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

OPERATORS: dict[str, Callable[..., Any]] = {}
"""MIL operator name -> function. `attar.export.mil.weights` adds the constant expressions of weights."""


def operator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Enter a function under its own name, less a trailing underscore that avoids a Python name."""
    OPERATORS[function.__name__.rstrip("_")] = function
    return function


def _ints(values: Tensor | Sequence[int] | int) -> list[int]:
    """A constant integer vector as a list."""
    if isinstance(values, Tensor):
        values = values.tolist()
    return [int(values)] if isinstance(values, int | float) else [int(value) for value in values]


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value)


# Convolution, pooling, linear algebra


def _pads(
    pad_type: str,
    pad: Any,
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """(before, after) zeros of every spatial axis. `same` puts the odd one after, `same_lower` before."""
    if pad_type == "valid":
        return [(0, 0)] * len(kernel)
    if pad_type == "custom":
        flat = _ints(pad) if pad is not None else [0] * (2 * len(kernel))
        return list(zip(flat[::2], flat[1::2]))
    pads = []
    for length, k, stride, dilation in zip(size, kernel, strides, dilations):
        total = max((math.ceil(length / stride) - 1) * stride + dilation * (k - 1) + 1 - length, 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if pad_type == "same" else (large, small))
    return pads


def _padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float) -> Tensor:
    if not any(before or after for before, after in pads):
        return x
    return F.pad(x, [amount for before, after in reversed(pads) for amount in (before, after)], value=value)


@operator
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    strides: Any = None,
    pad_type: str = "valid",
    pad: Any = None,
    dilations: Any = None,
    groups: int = 1,
) -> Tensor:
    """MIL `conv` (iOS15): x (N, C_in, *D), weight (C_out, C_in / groups, *K) -> (N, C_out, *D_out)."""
    rank = weight.dim() - 2
    stride = _ints(strides) if strides is not None else [1] * rank
    dilation = _ints(dilations) if dilations is not None else [1] * rank
    pads = _pads(pad_type, pad, x.shape[2:], weight.shape[2:], stride, dilation)
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    bias = None if bias is None else _tensor(bias).expand(weight.shape[0])
    if all(before == after for before, after in pads):
        return function(x, weight, bias, stride, [before for before, _ in pads], dilation, int(groups))
    return function(_padded(x, pads, 0.0), weight, bias, stride, 0, dilation, int(groups))


@operator
def avg_pool(
    x: Tensor,
    kernel_sizes: Any,
    strides: Any = None,
    pad_type: str = "valid",
    pad: Any = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """MIL `avg_pool` (iOS15). Padding counts as zeros unless it is excluded from the average."""
    kernel, stride, pads, extra = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]

    def pooled(values: Tensor, padding: float) -> Tensor:
        return function(_padded(_padded(values, pads, padding), extra, 0.0), kernel, stride)

    # The cells that ceil_mode adds never count; ordinary padding counts as its setting says.
    share = pooled(torch.ones(x.shape[1:])[None], 0.0 if exclude_padding_from_average else 1.0)
    return pooled(x, 0.0) / share


@operator
def max_pool(
    x: Tensor, kernel_sizes: Any, strides: Any = None, pad_type: str = "valid", pad: Any = None, ceil_mode: bool = False
) -> Tensor:
    """MIL `max_pool` (iOS15)."""
    kernel, stride, pads, extra = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    return function(_padded(_padded(x, pads, -math.inf), extra, -math.inf), kernel, stride)


def _window(
    x: Tensor, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: bool
) -> tuple[list[int], list[int], list[tuple[int, int]], list[tuple[int, int]]]:
    """Kernel, strides, padding, and the cells that ceil_mode adds after it, of a pooling operator."""
    kernel = _ints(kernel_sizes)
    stride = _ints(strides) if strides is not None else [1] * len(kernel)
    pads = _pads(pad_type, pad, x.shape[2:], kernel, stride, [1] * len(kernel))
    extra = [(0, 0)] * len(kernel)
    if ceil_mode:
        for axis, (size, k, s, (before, after)) in enumerate(zip(x.shape[2:], kernel, stride, pads)):
            windows = math.ceil((size + before + after - k) / s)
            # As in PyTorch, a last window that would start in the padding is left out.
            windows -= (windows * s) >= size + before
            extra[axis] = (0, max(windows * s + k - (size + before + after), 0))
    return kernel, stride, pads, extra


@operator
def linear(x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """MIL `linear` (iOS15): x (..., D_in), weight (D_out, D_in) -> (..., D_out)."""
    return F.linear(x, weight, None if bias is None else _tensor(bias).expand(weight.shape[0]))


@operator
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """MIL `matmul` (iOS15), with NumPy's broadcasting of the leading axes."""
    x = x.transpose(-1, -2) if transpose_x and x.dim() > 1 else x
    y = y.transpose(-1, -2) if transpose_y and y.dim() > 1 else y
    return torch.matmul(x, y)


@operator
def einsum(values: Sequence[Tensor], equation: str) -> Tensor:
    """MIL `einsum` (iOS15)."""
    return torch.einsum(equation, *values)


@operator
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None) -> Tensor:
    """MIL `scaled_dot_product_attention` (iOS18): softmax(Q K^T / sqrt(E) + mask) V; a bool mask keeps True."""
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(scores.softmax(-1), value)


# Normalization


@operator
def batch_norm(
    x: Tensor, mean: Tensor, variance: Tensor, gamma: Any = None, beta: Any = None, epsilon: float = 1e-5
) -> Tensor:
    """MIL `batch_norm` (iOS15), over axis 1."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    result = (x - mean.view(shape)) * torch.rsqrt(variance.view(shape) + epsilon)
    result = result if gamma is None else result * gamma.view(shape)
    return result if beta is None else result + beta.view(shape)


@operator
def layer_norm(x: Tensor, axes: Any = None, gamma: Any = None, beta: Any = None, epsilon: float = 1e-5) -> Tensor:
    """MIL `layer_norm` (iOS15): over `axes`, which gamma and beta have the shape of; every axis by default."""
    dims = sorted(axis % x.dim() for axis in (_ints(axes) if axes is not None else range(x.dim())))
    shape = [x.shape[axis] if axis in dims else 1 for axis in range(x.dim())]
    centred = x - x.mean(dims, keepdim=True)
    result = centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + epsilon)
    result = result if gamma is None else result * _tensor(gamma).reshape(shape)
    return result if beta is None else result + _tensor(beta).reshape(shape)


@operator
def instance_norm(x: Tensor, gamma: Any = None, beta: Any = None, epsilon: float = 1e-5) -> Tensor:
    """MIL `instance_norm` (iOS15): over the spatial axes of (N, C, *D)."""
    dims = list(range(2, x.dim()))
    shape = (1, -1) + (1,) * len(dims)
    centred = x - x.mean(dims, keepdim=True)
    result = centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + epsilon)
    result = result if gamma is None else result * gamma.view(shape)
    return result if beta is None else result + beta.view(shape)


# Activations


@operator
def relu(x: Tensor) -> Tensor:
    """MIL `relu` (iOS15)."""
    return torch.relu(x)


@operator
def relu6(x: Tensor) -> Tensor:
    """MIL `relu6` (iOS15)."""
    return torch.clamp(x, 0.0, 6.0)


@operator
def thresholded_relu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """MIL `thresholded_relu` (iOS15): x where x >= alpha, else 0."""
    # torch keeps what is above its threshold: give it the number just below alpha.
    number = np.float16 if x.dtype == torch.float16 else np.float32
    return F.threshold(x, float(np.nextafter(number(alpha), number(-np.inf))), 0.0)


@operator
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    """MIL `clamped_relu` (iOS15): min(x, beta) where x >= 0, min(alpha x, beta) below."""
    return torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


@operator
def leaky_relu(x: Tensor, alpha: float = 0.01) -> Tensor:
    """MIL `leaky_relu` (iOS15)."""
    return torch.where(x >= 0, x, alpha * x)


@operator
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """MIL `prelu` (iOS15): one slope a channel, axis 1."""
    return torch.where(x >= 0, x, alpha.view((1, -1) + (1,) * (x.dim() - 2)) * x)


@operator
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """MIL `elu` (iOS15)."""
    return torch.where(x > 0, x, alpha * torch.expm1(x))


@operator
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """MIL `gelu` (iOS15): exact, by tanh, or by sigmoid."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


@operator
def sigmoid(x: Tensor) -> Tensor:
    """MIL `sigmoid` (iOS15)."""
    return torch.sigmoid(x)


@operator
def sigmoid_hard(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """MIL `sigmoid_hard` (iOS15): min(max(alpha x + beta, 0), 1)."""
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


@operator
def silu(x: Tensor) -> Tensor:
    """MIL `silu` (iOS15): x sigmoid(x)."""
    return F.silu(x)


@operator
def softplus(x: Tensor) -> Tensor:
    """MIL `softplus` (iOS15)."""
    return torch.logaddexp(x, torch.zeros_like(x))


@operator
def tanh(x: Tensor) -> Tensor:
    """MIL `tanh` (iOS15)."""
    return torch.tanh(x)


@operator
def linear_activation(x: Tensor, alpha: float, beta: float = 0.0) -> Tensor:
    """MIL `linear_activation` (iOS15): alpha x + beta."""
    return alpha * x + beta


@operator
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """MIL `softmax` (iOS15)."""
    return torch.softmax(x, axis)


# Elementwise, one input


@operator
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    """MIL `clip` (iOS15): into [alpha, beta]."""
    return torch.clamp(x, alpha, beta)


@operator
def abs_(x: Tensor) -> Tensor:
    """MIL `abs` (iOS15)."""
    return torch.abs(x)


@operator
def erf(x: Tensor) -> Tensor:
    """MIL `erf` (iOS15)."""
    return torch.erf(x)


@operator
def exp(x: Tensor) -> Tensor:
    """MIL `exp` (iOS15)."""
    return torch.exp(x)


@operator
def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """MIL `log` (iOS15): ln(x + epsilon)."""
    return torch.log(x + epsilon)


@operator
def sqrt(x: Tensor) -> Tensor:
    """MIL `sqrt` (iOS15)."""
    return torch.sqrt(x)


@operator
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """MIL `rsqrt` (iOS15): 1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


@operator
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """MIL `inverse` (iOS15): 1 / (x + epsilon)."""
    return torch.reciprocal(x + epsilon)


@operator
def sin(x: Tensor) -> Tensor:
    """MIL `sin` (iOS15), of radians."""
    return torch.sin(x)


@operator
def cos(x: Tensor) -> Tensor:
    """MIL `cos` (iOS15), of radians."""
    return torch.cos(x)


@operator
def square(x: Tensor) -> Tensor:
    """MIL `square` (iOS15)."""
    return torch.square(x)


@operator
def identity(x: Tensor) -> Tensor:
    """MIL `identity` (iOS15)."""
    return x


@operator
def cast(x: Any, dtype: str) -> Tensor:
    """MIL `cast` (iOS15): to a float type (the caller rounds to fp16), an integer type by truncation, or bool."""
    if dtype.startswith("fp"):
        return _tensor(x).float()
    return _tensor(x).to(torch.bool if dtype == "bool" else torch.int32)


# Quantization of activations


def _along(value: Any, axis: Any, rank: int) -> Any:
    """A scale or zero point, one a tensor or one an index of an axis, in a shape that broadcasts."""
    if isinstance(value, Tensor) and value.dim():
        return value.reshape([-1 if i == int(axis) % rank else 1 for i in range(rank)])
    return value


@operator
def quantize(input: Tensor, scale: Any, output_dtype: str, zero_point: Any = 0, axis: Any = None) -> Tensor:
    """MIL `quantize` (iOS17): clip(round(input / scale) + zero point) as int8 or uint8, halves to even."""
    dtype = {"int8": torch.int8, "uint8": torch.uint8}[output_dtype]
    scale, zero_point = (_along(value, axis, input.dim()) for value in (scale, zero_point))
    limits = torch.iinfo(dtype)
    return torch.clamp(torch.round(input / scale) + zero_point, limits.min, limits.max).to(dtype)


@operator
def dequantize(input: Tensor, scale: Any, zero_point: Any = 0, axis: Any = None) -> Tensor:
    """MIL `dequantize` (iOS17): scale (input - zero point)."""
    scale, zero_point = (_along(value, axis, input.dim()) for value in (scale, zero_point))
    return (input.float() - zero_point) * scale


# Elementwise, two inputs with broadcasting


@operator
def add(x: Any, y: Any) -> Tensor:
    """MIL `add` (iOS15)."""
    return torch.add(_tensor(x), _tensor(y))


@operator
def sub(x: Any, y: Any) -> Tensor:
    """MIL `sub` (iOS15)."""
    return torch.sub(_tensor(x), _tensor(y))


@operator
def mul(x: Any, y: Any) -> Tensor:
    """MIL `mul` (iOS15)."""
    return torch.mul(_tensor(x), _tensor(y))


@operator
def real_div(x: Any, y: Any) -> Tensor:
    """MIL `real_div` (iOS15)."""
    return torch.div(_tensor(x), _tensor(y))


@operator
def floor_div(x: Any, y: Any) -> Tensor:
    """MIL `floor_div` (iOS15)."""
    return torch.div(_tensor(x), _tensor(y), rounding_mode="floor")


@operator
def mod(x: Any, y: Any) -> Tensor:
    """MIL `mod` (iOS15): the remainder has the divisor's sign."""
    return torch.remainder(_tensor(x), _tensor(y))


@operator
def pow_(x: Any, y: Any) -> Tensor:
    """MIL `pow` (iOS15)."""
    return torch.pow(_tensor(x), _tensor(y))


@operator
def maximum(x: Any, y: Any) -> Tensor:
    """MIL `maximum` (iOS15)."""
    return torch.maximum(_tensor(x), _tensor(y))


@operator
def minimum(x: Any, y: Any) -> Tensor:
    """MIL `minimum` (iOS15)."""
    return torch.minimum(_tensor(x), _tensor(y))


@operator
def equal(x: Any, y: Any) -> Tensor:
    """MIL `equal` (iOS15)."""
    return _tensor(x) == _tensor(y)


@operator
def greater(x: Any, y: Any) -> Tensor:
    """MIL `greater` (iOS15)."""
    return _tensor(x) > _tensor(y)


@operator
def greater_equal(x: Any, y: Any) -> Tensor:
    """MIL `greater_equal` (iOS15)."""
    return _tensor(x) >= _tensor(y)


@operator
def less(x: Any, y: Any) -> Tensor:
    """MIL `less` (iOS15)."""
    return _tensor(x) < _tensor(y)


@operator
def less_equal(x: Any, y: Any) -> Tensor:
    """MIL `less_equal` (iOS15)."""
    return _tensor(x) <= _tensor(y)


@operator
def select(cond: Any, a: Any, b: Any) -> Tensor:
    """MIL `select` (iOS15): a where cond, else b."""
    return torch.where(_tensor(cond).bool(), _tensor(a), _tensor(b))


# Reductions


def _axes(x: Tensor, axes: Any) -> list[int]:
    return _ints(axes) if axes is not None else list(range(x.dim()))


@operator
def reduce_mean(x: Tensor, axes: Any = None, keep_dims: bool = False) -> Tensor:
    """MIL `reduce_mean` (iOS15)."""
    return x.mean(_axes(x, axes), keepdim=bool(keep_dims))


@operator
def reduce_sum(x: Tensor, axes: Any = None, keep_dims: bool = False) -> Tensor:
    """MIL `reduce_sum` (iOS15)."""
    return x.sum(_axes(x, axes), keepdim=bool(keep_dims))


@operator
def reduce_max(x: Tensor, axes: Any = None, keep_dims: bool = False) -> Tensor:
    """MIL `reduce_max` (iOS15)."""
    return x.amax(_axes(x, axes), keepdim=bool(keep_dims))


@operator
def reduce_min(x: Tensor, axes: Any = None, keep_dims: bool = False) -> Tensor:
    """MIL `reduce_min` (iOS15)."""
    return x.amin(_axes(x, axes), keepdim=bool(keep_dims))


@operator
def reduce_l2_norm(x: Tensor, axes: Any = None, keep_dims: bool = False) -> Tensor:
    """MIL `reduce_l2_norm` (iOS15)."""
    return x.square().sum(_axes(x, axes), keepdim=bool(keep_dims)).sqrt()


@operator
def reduce_sum_square(x: Tensor, axes: Any = None, keep_dims: bool = False) -> Tensor:
    """MIL `reduce_sum_square` (iOS15)."""
    return x.square().sum(_axes(x, axes), keepdim=bool(keep_dims))


# Shapes


@operator
def reshape(x: Tensor, shape: Any) -> Tensor:
    """MIL `reshape` (iOS15): 0 keeps the axis at that place, one -1 is inferred."""
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(_ints(shape))])


@operator
def transpose(x: Tensor, perm: Any) -> Tensor:
    """MIL `transpose` (iOS15)."""
    return x.permute(_ints(perm))


@operator
def expand_dims(x: Any, axes: Any) -> Tensor:
    """MIL `expand_dims` (iOS15): axes are places in the output."""
    x = _tensor(x)
    rank = x.dim() + len(_ints(axes))
    for axis in sorted(axis % rank for axis in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


@operator
def squeeze(x: Tensor, axes: Any = None) -> Tensor:
    """MIL `squeeze` (iOS15)."""
    dims = _ints(axes) if axes is not None else [i for i, size in enumerate(x.shape) if size == 1]
    return x.squeeze(tuple(dims))


@operator
def concat(values: Sequence[Any], axis: int, interleave: bool = False) -> Tensor:
    """MIL `concat` (iOS15); interleaved, the slices along the axis take turns."""
    tensors = [_tensor(value) for value in values]
    if interleave:
        return torch.stack(tensors, axis % tensors[0].dim() + 1).flatten(axis, axis + 1)
    return torch.cat(tensors, axis)


@operator
def stack(values: Sequence[Any], axis: int) -> Tensor:
    """MIL `stack` (iOS15)."""
    return torch.stack([_tensor(value) for value in values], axis)


@operator
def split(x: Tensor, num_splits: Any = None, split_sizes: Any = None, axis: int = 0) -> tuple[Tensor, ...]:
    """MIL `split` (iOS15): into equal parts, or into parts of the given sizes."""
    sizes = x.shape[axis] // int(num_splits) if split_sizes is None else _ints(split_sizes)
    return torch.split(x, sizes, axis)


@operator
def slice_by_index(
    x: Tensor,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Tensor:
    """MIL `slice_by_index` (iOS15): NumPy's slices; a mask ignores a bound, a squeeze mask takes one index."""
    rank = x.dim()
    begins, ends = _ints(begin), _ints(end)
    strides = _ints(stride) if stride is not None else [1] * rank
    no_begin, no_end, squeezed = (
        _ints(mask) if mask is not None else [0] * rank for mask in (begin_mask, end_mask, squeeze_mask)
    )
    gone = []
    for axis in range(rank):
        if squeezed[axis]:
            start = begins[axis] % x.shape[axis]
            x = x.narrow(axis, start, 1)
            gone.append(axis)
            continue
        kept = slice(None if no_begin[axis] else begins[axis], None if no_end[axis] else ends[axis], strides[axis])
        places = range(*kept.indices(x.shape[axis]))
        if len(places) != x.shape[axis] or strides[axis] != 1:
            x = x.index_select(axis, torch.tensor(places, dtype=torch.long))
    return x.squeeze(tuple(gone)) if gone else x


@operator
def slice_by_size(x: Tensor, begin: Any, size: Any) -> Tensor:
    """MIL `slice_by_size` (iOS15): a size of -1 goes to the end."""
    for axis, (start, length) in enumerate(zip(_ints(begin), _ints(size))):
        x = x.narrow(axis, start, x.shape[axis] - start if length == -1 else length)
    return x


@operator
def gather(x: Any, indices: Any, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """MIL `gather` (iOS15, iOS17): slices of x along an axis at (possibly negative) indices."""
    if batch_dims:
        raise NotImplementedError("gather with batch_dims")
    x, places = _tensor(x), _tensor(indices).long()
    axis = axis % x.dim()
    flat = torch.where(places < 0, places + x.shape[axis], places).reshape(-1)
    return x.index_select(axis, flat).reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


@operator
def tile(x: Tensor, reps: Any) -> Tensor:
    """MIL `tile` (iOS15)."""
    return x.repeat(_ints(reps))


@operator
def pad(x: Tensor, pad: Any, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """MIL `pad` (iOS15): (before, after) of the last len(pad) / 2 axes; constant, reflect or replicate."""
    flat = _ints(pad)
    pairs = list(zip(flat[::2], flat[1::2]))
    if mode == "constant":
        return _padded(x, pairs, float(constant_val))
    for axis, (before, after) in enumerate(pairs, x.dim() - len(pairs)):
        places = torch.arange(-before, x.shape[axis] + after)
        if mode == "reflect":
            places = places.abs()
            places = torch.where(places >= x.shape[axis], 2 * (x.shape[axis] - 1) - places, places)
        x = x.index_select(axis, places.clamp(0, x.shape[axis] - 1))
    return x


@operator
def shape(x: Tensor) -> Tensor:
    """MIL `shape` (iOS15)."""
    return torch.tensor(x.shape, dtype=torch.int32)


@operator
def fill(shape: Any, value: Any = 0.0) -> Tensor:
    """MIL `fill` (iOS15)."""
    return torch.full(_ints(shape), value)


@operator
def range_1d(end: Any, start: Any, step: Any) -> Tensor:
    """MIL `range_1d` (iOS15)."""
    return torch.arange(_tensor(start).item(), _tensor(end).item(), _tensor(step).item())


@operator
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    """MIL `upsample_nearest_neighbor` (iOS15), (N, C, H, W)."""
    return F.interpolate(x, scale_factor=(float(scale_factor_height), float(scale_factor_width)), mode="nearest")
