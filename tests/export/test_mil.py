"""The reference evaluator, operator by operator, against torch.

Every test builds a tiny ML program with coremltools, saves it as a file, reads the file back, and compares
what the evaluator computes (one input and a batch of them) with the same thing written in torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from attar.errors import InputError
from attar.export import ranges
from attar.export.mil import Program, read_program
from attar.export.mil.ops import OPERATORS
from attar.export.mil.program import HALF
from attar.export.runners.coreml import read_spec

ct = pytest.importorskip("coremltools")
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402

# No shrinking: every example is small, and converts a program.
few = settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
sizes = st.integers(1, 5)


def saved(build: Callable, shape: tuple[int, ...], target=ct.target.iOS15, optimize: Callable | None = None) -> Program:
    """A program of one float32 input, written by coremltools as it is and read back from the file."""
    program = mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=target)(lambda x: build(x))
    model = ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=target,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    if optimize:
        model = optimize(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.mlpackage"
        model.save(str(path))
        return read_program(*read_spec(path), str(path))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def check(
    kind: str,
    build: Callable,
    want: Callable,
    shape: tuple[int, ...],
    *,
    target=ct.target.iOS15,
    tolerance: float = 2e-5,
) -> None:
    """`build(x)` in MIL equals `want(x)` in torch, on three inputs, one by one and as a batch."""
    program = saved(build, shape, target)
    assert kind in program.operators
    inputs = torch.stack([random(*shape, seed=seed) for seed in range(3)])
    expected = torch.stack([want(x) for x in inputs])
    single = torch.stack([program.evaluate(x)[0] for x in inputs])
    (batch,) = program.evaluate_batch(inputs)
    assert single.shape == expected.shape
    torch.testing.assert_close(single.to(expected.dtype), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(batch, single, rtol=tolerance, atol=tolerance)


# Convolution, pooling, linear algebra


@few
@given(
    groups=st.integers(1, 3),
    inside=st.integers(1, 2),
    outside=st.integers(1, 2),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    pad=st.tuples(*[st.integers(0, 2)] * 4),
    bias=st.booleans(),
)
def test_conv(groups, inside, outside, kernel, stride, dilation, height, width, pad, bias):
    weight, offset = random(groups * outside, inside, kernel, kernel), random(groups * outside)
    top, bottom, left, right = pad

    def want(x):
        padded = F.pad(x, (left, right, top, bottom))
        return F.conv2d(padded, weight, offset if bias else None, stride, 0, dilation, groups)

    def build(x):
        more = {"bias": offset.numpy()} if bias else {}
        return mb.conv(
            x=x,
            weight=weight.numpy(),
            strides=[stride] * 2,
            pad_type="custom",
            pad=list(pad),
            dilations=[dilation] * 2,
            groups=groups,
            **more,
        )

    check("conv", build, want, (1, groups * inside, height, width))


@few
@given(size=st.integers(4, 9), kernel=st.integers(1, 4), stride=st.integers(1, 3), lower=st.booleans())
def test_conv_same_padding_puts_the_odd_zero_where_the_specification_says(size, kernel, stride, lower):
    weight = random(2, 3, kernel, kernel)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before = total - total // 2 if lower else total // 2
    around = (before, total - before) * 2

    def build(x):
        return mb.conv(x=x, weight=weight.numpy(), strides=[stride] * 2, pad_type="same_lower" if lower else "same")

    target = ct.target.iOS16 if lower else ct.target.iOS15
    check("conv", build, lambda x: F.conv2d(F.pad(x, around), weight, None, stride), (1, 3, size, size), target=target)


@few
@given(
    kernel=st.integers(2, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
    size=st.integers(5, 9),
    exclude=st.booleans(),
    ceil=st.booleans(),
)
def test_pooling(kernel, stride, padding, size, exclude, ceil):
    shape = (1, 2, size, size + 1)
    window = {
        "kernel_sizes": [kernel] * 2,
        "strides": [stride] * 2,
        "pad_type": "custom",
        "pad": [padding] * 4,
        "ceil_mode": ceil,
    }
    check(
        "avg_pool",
        lambda x: mb.avg_pool(x=x, exclude_padding_from_average=exclude, **window),
        lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil, not exclude),
        shape,
    )
    check(
        "max_pool",
        lambda x: mb.max_pool(x=x, **window),
        lambda x: F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil),
        shape,
    )


@few
@given(rows=sizes, inner=sizes, columns=sizes, flip_x=st.booleans(), flip_y=st.booleans())
def test_linear_and_matmul(rows, inner, columns, flip_x, flip_y):
    weight, bias = random(columns, inner), random(columns)
    check(
        "linear",
        lambda x: mb.linear(x=x, weight=weight.numpy(), bias=bias.numpy()),
        lambda x: F.linear(x, weight, bias),
        (1, rows, inner),
    )
    y = random(2, 1, *((columns, inner) if flip_y else (inner, columns)))
    check(
        "matmul",
        lambda x: mb.matmul(x=x, y=y.numpy(), transpose_x=flip_x, transpose_y=flip_y),
        lambda x: (x.mT if flip_x else x) @ (y.mT if flip_y else y),
        (1, 3, *((inner, rows) if flip_x else (rows, inner))),
    )


def test_einsum():
    y = random(1, 4, 5, 3)
    check(
        "einsum",
        lambda x: mb.einsum(values=(x, mb.const(val=y.numpy())), equation="bchw,bwhu->bchu"),
        lambda x: torch.einsum("bchw,bwhu->bchu", x, y),
        (1, 2, 5, 4),
    )


@few
@given(heads=st.integers(1, 3), tokens=sizes, width=sizes, mask=st.sampled_from(["none", "bool", "float"]))
def test_attention(heads, tokens, width, mask):
    shape = (1, heads, tokens, width)
    allowed = torch.rand(tokens, tokens, generator=torch.Generator().manual_seed(0)) > 0.4
    allowed |= torch.eye(tokens, dtype=torch.bool)
    chosen = {"none": None, "bool": allowed, "float": random(tokens, tokens)}[mask]
    more = {} if chosen is None else {"attn_mask": chosen.numpy()}
    check(
        "scaled_dot_product_attention",
        lambda x: mb.scaled_dot_product_attention(query=x, key=mb.mul(x=x, y=0.5), value=mb.add(x=x, y=1.0), **more),
        lambda x: F.scaled_dot_product_attention(x, 0.5 * x, x + 1, attn_mask=chosen),
        shape,
        target=ct.target.iOS18,
    )


# Normalization and activations


@few
@given(channels=sizes, size=st.integers(2, 5), epsilon=st.sampled_from([1e-5, 1e-3]))
def test_norms(channels, size, epsilon):
    shape = (1, channels, size, size)
    mean, variance, gamma, beta = (random(channels, seed=i) for i in range(4))
    affine = {"gamma": gamma.numpy(), "beta": beta.numpy(), "epsilon": epsilon}
    check(
        "batch_norm",
        lambda x: mb.batch_norm(x=x, mean=mean.numpy(), variance=variance.abs().numpy(), **affine),
        lambda x: F.batch_norm(x, mean, variance.abs(), gamma, beta, eps=epsilon),
        shape,
        tolerance=1e-4,
    )
    check(
        "instance_norm",
        lambda x: mb.instance_norm(x=x, **affine),
        lambda x: F.instance_norm(x, weight=gamma, bias=beta, eps=epsilon),
        shape,
        tolerance=1e-4,
    )
    check(
        "layer_norm",
        lambda x: mb.layer_norm(x=x, axes=[-1], **affine),
        lambda x: F.layer_norm(x, (channels,), gamma, beta, epsilon),
        (1, size, channels),
        tolerance=1e-3,
    )


ACTIVATIONS = {
    "relu": (lambda x: mb.relu(x=x), F.relu),
    "relu6": (lambda x: mb.relu6(x=x), F.relu6),
    "thresholded_relu": (lambda x: mb.thresholded_relu(x=x, alpha=0.3), lambda x: x * (x >= 0.3)),
    "clamped_relu": (
        lambda x: mb.clamped_relu(x=x, alpha=0.2, beta=0.7),
        lambda x: F.leaky_relu(x, 0.2).clamp(max=0.7),
    ),
    "leaky_relu": (lambda x: mb.leaky_relu(x=x, alpha=0.1), lambda x: F.leaky_relu(x, 0.1)),
    "prelu": (
        lambda x: mb.prelu(x=x, alpha=np.array([0.1, 0.2, 0.3], np.float32)),
        lambda x: F.prelu(x, torch.tensor([0.1, 0.2, 0.3])),
    ),
    "elu": (lambda x: mb.elu(x=x, alpha=0.7), lambda x: F.elu(x, 0.7)),
    "gelu": (lambda x: mb.gelu(x=x), F.gelu),
    "sigmoid": (lambda x: mb.sigmoid(x=x), torch.sigmoid),
    "sigmoid_hard": (lambda x: mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5), F.hardsigmoid),
    "silu": (lambda x: mb.silu(x=x), F.silu),
    "softplus": (lambda x: mb.softplus(x=x), F.softplus),
    "tanh": (lambda x: mb.tanh(x=x), torch.tanh),
    "linear_activation": (lambda x: mb.linear_activation(x=x, alpha=2.0, beta=-1.0), lambda x: 2 * x - 1),
    "softmax": (lambda x: mb.softmax(x=x, axis=1), lambda x: x.softmax(1)),
    "clip": (lambda x: mb.clip(x=x, alpha=-0.5, beta=0.25), lambda x: x.clamp(-0.5, 0.25)),
    "abs": (lambda x: mb.abs(x=x), torch.abs),
    "erf": (lambda x: mb.erf(x=x), torch.erf),
    "exp": (lambda x: mb.exp(x=x), torch.exp),
    "log": (lambda x: mb.log(x=mb.square(x=x), epsilon=0.1), lambda x: (x * x + 0.1).log()),
    "sqrt": (lambda x: mb.sqrt(x=mb.abs(x=x)), lambda x: x.abs().sqrt()),
    "rsqrt": (lambda x: mb.rsqrt(x=mb.abs(x=x), epsilon=0.1), lambda x: (x.abs() + 0.1).rsqrt()),
    "inverse": (lambda x: mb.inverse(x=mb.abs(x=x), epsilon=0.1), lambda x: 1 / (x.abs() + 0.1)),
    "square": (lambda x: mb.square(x=x), torch.square),
    "sin": (lambda x: mb.sin(x=x), torch.sin),
    "cos": (lambda x: mb.cos(x=x), torch.cos),
    "identity": (lambda x: mb.identity(x=x), lambda x: x),
    "cast": (lambda x: mb.cast(x=mb.cast(x=x, dtype="int32"), dtype="fp32"), torch.trunc),
    "select": (
        lambda x: mb.select(cond=mb.greater(x=x, y=0.0), a=x, b=mb.mul(x=x, y=2.0)),
        lambda x: torch.where(x > 0, x, 2 * x),
    ),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_elementwise_of_one_input(kind):
    build, want = ACTIVATIONS[kind]
    check(kind, build, want, (1, 3, 4, 5))


@pytest.mark.parametrize(
    ("mode", "want"),
    [
        ("TANH_APPROXIMATION", lambda x: F.gelu(x, approximate="tanh")),
        ("SIGMOID_APPROXIMATION", lambda x: x * torch.sigmoid(1.702 * x)),
    ],
)
def test_gelu_approximations(mode, want):
    check("gelu", lambda x: mb.gelu(x=x, mode=mode), want, (1, 4, 5))


BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "real_div": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "floor_div": torch.floor_divide,
    "mod": torch.remainder,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "equal": torch.eq,
}


@few
@given(kind=st.sampled_from(sorted(BINARY)), ones=st.tuples(*[st.booleans()] * 3), swap=st.booleans())
def test_elementwise_of_two_inputs_broadcasts(kind, ones, swap):
    shape = (1, 3, 2, 4)
    y = random(*(1 if one else size for one, size in zip(ones, shape[1:]))).abs() + 0.5

    def mil(x):
        x = mb.add(x=mb.abs(x=x), y=0.25)
        return getattr(mb, kind)(x=y.numpy(), y=x) if swap else getattr(mb, kind)(x=x, y=y.numpy())

    def want(x):
        x = x.abs() + 0.25
        return BINARY[kind](y, x) if swap else BINARY[kind](x, y)

    def numeric(x):
        return (
            mb.cast(x=mil(x), dtype="fp32")
            if BINARY[kind] in (torch.gt, torch.ge, torch.lt, torch.le, torch.eq)
            else mil(x)
        )

    check(kind, numeric, lambda x: want(x).float(), shape)


def test_pow():
    check("pow", lambda x: mb.pow(x=mb.abs(x=x), y=1.5), lambda x: x.abs() ** 1.5, (1, 3, 4))


# Quantization of activations


@few
@given(
    signed=st.booleans(),
    channels=st.integers(1, 4),
    axis=st.sampled_from([None, 1, -2]),
    scales=st.lists(st.floats(1e-3, 0.5), min_size=4, max_size=4),
    points=st.lists(st.integers(0, 120), min_size=4),
)
def test_quantize_and_dequantize(signed, channels, axis, scales, points):
    per_channel = axis is not None
    dtype = np.int8 if signed else np.uint8
    scale, point = np.array(scales[:channels], np.float32), np.array(points[:channels], dtype)
    if not per_channel:
        scale, point = scale[0], point[0]
    more = {"axis": axis} if per_channel else {}

    def build(x):
        stored = mb.quantize(input=x, scale=scale, zero_point=point, output_dtype=np.dtype(dtype).name, **more)
        return mb.dequantize(input=stored, scale=scale, zero_point=point, **more)

    def want(x):
        limits = (-128, 127) if signed else (0, 255)
        if not per_channel:
            return torch.fake_quantize_per_tensor_affine(x, float(scale), int(point), *limits)
        points = torch.from_numpy(point.astype(np.int32))
        return torch.fake_quantize_per_channel_affine(x, torch.from_numpy(scale), points, 1, *limits)

    check("quantize", build, want, (1, channels, 5), target=ct.target.iOS17)
    check("dequantize", build, want, (1, channels, 5), target=ct.target.iOS17)


def test_quantize_rounds_halves_to_even_and_saturates():
    program = saved(
        lambda x: mb.dequantize(input=mb.quantize(input=x, scale=0.5, output_dtype="int8"), scale=0.5),
        (1, 6),
        ct.target.iOS17,
    )
    outputs = program.evaluate(torch.tensor([[0.25, 0.75, -0.25, 63.6, 1e6, -1e6]]))[0]
    assert outputs.tolist() == [[0.0, 1.0, 0.0, 63.5, 63.5, -64.0]]


# Reductions and shapes

REDUCTIONS = {
    "reduce_mean": lambda x, axes, keep: x.mean(axes, keep),
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keep),
    "reduce_max": lambda x, axes, keep: x.amax(axes, keep),
    "reduce_min": lambda x, axes, keep: x.amin(axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep),
    "reduce_sum_square": lambda x, axes, keep: (x * x).sum(axes, keep),
}


@few
@given(
    kind=st.sampled_from(sorted(REDUCTIONS)),
    axes=st.sets(st.integers(-4, -1), min_size=1),
    keep=st.booleans(),
    shape=st.tuples(*[sizes] * 3),
)
def test_reductions(kind, axes, keep, shape):
    axes = sorted(axes)
    # A result of rank 0 is none that a model can return; the first axis then stays.
    axes = axes[1:] if len(axes) == 4 and not keep else axes
    check(
        kind,
        lambda x: getattr(mb, kind)(x=x, axes=axes, keep_dims=keep),
        lambda x: REDUCTIONS[kind](x, tuple(axes), keep),
        (1, *shape),
    )


@few
@given(shape=st.tuples(*[sizes] * 3), perm=st.permutations(range(4)))
def test_reshape_and_transpose(shape, perm):
    a, b, c = shape
    check("transpose", lambda x: mb.transpose(x=x, perm=perm), lambda x: x.permute(perm), (1, a, b, c))
    check("reshape", lambda x: mb.reshape(x=x, shape=[c, -1, 1]), lambda x: x.reshape(c, -1, 1), (1, a, b, c))
    check("reshape", lambda x: mb.reshape(x=x, shape=[0, 0, -1, 1]), lambda x: x.flatten(2)[..., None], (1, a, b, c))


@few
@given(
    begin=st.integers(-4, 3),
    length=st.integers(1, 4),
    stride=st.integers(1, 2),
    from_start=st.booleans(),
    to_end=st.booleans(),
    squeezed=st.booleans(),
)
def test_slices(begin, length, stride, from_start, to_end, squeezed):
    start = begin % 4
    end = min(start + length, 4)
    part = slice(None if from_start else start, None if to_end else end, stride)
    index = 1 if squeezed else slice(None)

    def build(x):
        return mb.slice_by_index(
            x=x,
            begin=[0, begin, 1],
            end=[1, end, 2],
            stride=[1, stride, 1],
            begin_mask=[True, from_start, not squeezed],
            end_mask=[True, to_end, not squeezed],
            squeeze_mask=[False, False, squeezed],
        )

    check("slice_by_index", build, lambda x: x[:, part, index], (1, 4, 3))
    check(
        "slice_by_size",
        lambda x: mb.slice_by_size(x=x, begin=[0, start, 0], size=[1, end - start, -1]),
        lambda x: x[:, start:end],
        (1, 4, 3),
    )


SHAPES = {
    "expand_dims": (lambda x: mb.expand_dims(x=x, axes=[1, -1]), lambda x: x[:, None, ..., None]),
    "squeeze": (lambda x: mb.squeeze(x=x, axes=[0]), lambda x: x[0]),
    "concat": (lambda x: mb.concat(values=(x, mb.relu(x=x)), axis=1), lambda x: torch.cat([x, x.relu()], 1)),
    "stack": (lambda x: mb.stack(values=(x, mb.relu(x=x)), axis=2), lambda x: torch.stack([x, x.relu()], 2)),
    "split": (
        lambda x: mb.concat(values=mb.split(x=x, split_sizes=[1, 3], axis=1)[::-1], axis=1),
        lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
    ),
    "gather": (
        lambda x: mb.gather(x=x, indices=np.array([[0, 2], [-1, 1]], np.int32), axis=1),
        lambda x: x[:, torch.tensor([[0, 2], [-1, 1]])],
    ),
    "tile": (lambda x: mb.tile(x=x, reps=[1, 2, 3]), lambda x: x.repeat(1, 2, 3)),
    "upsample_nearest_neighbor": (
        lambda x: mb.upsample_nearest_neighbor(
            x=mb.expand_dims(x=x, axes=[0]), scale_factor_height=2, scale_factor_width=3
        ),
        lambda x: F.interpolate(x[None], scale_factor=(2, 3)),
    ),
    "range_1d": (lambda x: mb.gather(x=x, indices=mb.range_1d(start=3, end=-1, step=-1), axis=1), lambda x: x.flip(1)),
    "fill": (lambda x: mb.add(x=x, y=mb.fill(shape=[4, 5], value=2.0)), lambda x: x + 2),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_shape_operators(kind):
    build, want = SHAPES[kind]
    check(kind, build, want, (1, 4, 5))


def test_interleaved_concat_takes_turns():
    check(
        "concat",
        lambda x: mb.concat(values=(x, mb.relu(x=x)), axis=1, interleave=True),
        lambda x: torch.stack([x, x.relu()], 2).flatten(1, 2),
        (1, 3, 2, 2),
    )


def test_shape_is_that_of_one_input():
    check("shape", lambda x: mb.reshape(x=mb.relu(x=x), shape=mb.shape(x=x)), F.relu, (1, 3, 4))


@few
@given(mode=st.sampled_from(["constant", "reflect", "replicate"]), pad=st.tuples(*[st.integers(0, 3)] * 4))
def test_pad(mode, pad):
    top, bottom, left, right = pad
    check(
        "pad",
        lambda x: mb.pad(x=x, pad=list(pad), mode=mode, constant_val=0.0),
        lambda x: F.pad(x, (left, right, top, bottom), mode=mode),
        (1, 2, 4, 5),
    )


# Constant expressions, made by coremltools' own optimizers


def compressed(config, compress: Callable, target, shape=(32, 8, 3, 3)) -> tuple[Program, torch.Tensor]:
    weight = random(*shape)
    program = saved(
        lambda x: mb.conv(x=x, weight=weight.numpy()),
        (1, shape[1], 5, 5),
        target,
        lambda model: compress(model, ct.optimize.coreml.OptimizationConfig(global_config=config)),
    )
    return program, weight


def stored_weight(program: Program) -> torch.Tensor:
    """The constant that the convolution finally uses."""
    return next(step.inputs["weight"] for step in program.steps if step.operator == "conv")


@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS18])
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_int8_weights(target, mode, granularity):
    config = ct.optimize.coreml.OpLinearQuantizerConfig(
        mode=mode, dtype="int8", granularity=granularity, weight_threshold=1
    )
    program, weight = compressed(config, ct.optimize.coreml.linear_quantize_weights, target)
    kind = "constexpr_affine_dequantize" if target == ct.target.iOS16 else "constexpr_blockwise_shift_scale"
    assert kind in program.operators
    stored = stored_weight(program)
    # Rounding to the nearest of 255 steps over the range moves a value by half a step at most.
    per_channel = granularity == "per_channel"
    flat = weight.flatten(1) if per_channel else weight.reshape(1, -1)
    step = (flat.amax(1) - flat.amin(1)) / 255 if mode == "linear" else flat.abs().amax(1) / 127
    error = (stored - weight).abs().flatten(1) if per_channel else (stored - weight).abs().reshape(1, -1)
    assert (error <= 0.51 * step[:, None] + 1e-6).all() and error.max() > 0


def test_int4_weights_by_block():
    config = ct.optimize.coreml.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=4, weight_threshold=1
    )
    program, weight = compressed(config, ct.optimize.coreml.linear_quantize_weights, ct.target.iOS18, (32, 8, 1, 1))
    assert "constexpr_blockwise_shift_scale" in program.operators
    blocks = weight.reshape(32, 2, 4)
    step = blocks.abs().amax(-1, keepdim=True) / 7
    assert ((stored_weight(program).reshape(32, 2, 4) - blocks).abs() <= 0.51 * step + 1e-6).all()


@pytest.mark.parametrize("nbits", [1, 2, 4, 6, 8])
def test_one_table_a_tensor_in_both_forms(nbits):
    config = ct.optimize.coreml.OpPalettizerConfig(mode="uniform", nbits=nbits, weight_threshold=1)
    old, weight = compressed(config, ct.optimize.coreml.palettize_weights, ct.target.iOS16)
    new, _ = compressed(config, ct.optimize.coreml.palettize_weights, ct.target.iOS18)
    assert "constexpr_lut_to_dense" in old.operators and "constexpr_lut_to_dense" in new.operators
    torch.testing.assert_close(stored_weight(old), stored_weight(new), rtol=0, atol=0)
    step = (weight.max() - weight.min()) / (2**nbits - 1)
    assert (stored_weight(old) - weight).abs().max() <= 0.51 * step


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scaled", [False, True])
def test_one_table_a_group_of_channels(axis, scaled):
    config = ct.optimize.coreml.OpPalettizerConfig(
        mode="uniform",
        nbits=4,
        granularity="per_grouped_channel",
        group_size=4,
        channel_axis=axis,
        enable_per_channel_scale=scaled,
        weight_threshold=1,
    )
    program, weight = compressed(config, ct.optimize.coreml.palettize_weights, ct.target.iOS18)
    stored = stored_weight(program).movedim(axis, 0).reshape(-1, 4, *weight.movedim(axis, 0).shape[1:]).flatten(1)
    groups = weight.movedim(axis, 0).reshape(stored.shape)
    if not scaled:
        step = (groups.amax(1) - groups.amin(1)) / 15
        assert ((stored - groups).abs() <= 0.51 * step[:, None]).all()
    assert torch.corrcoef(torch.stack([stored.flatten(), groups.flatten()]))[0, 1] > 0.99


def test_tables_of_vectors():
    config = ct.optimize.coreml.OpPalettizerConfig(
        mode="kmeans", nbits=6, cluster_dim=2, granularity="per_grouped_channel", group_size=16, weight_threshold=1
    )
    program, weight = compressed(config, ct.optimize.coreml.palettize_weights, ct.target.iOS18, (32, 8, 1, 1))
    # 64 vectors a group and 64 entries: every vector has its own, and nothing is lost.
    torch.testing.assert_close(stored_weight(program), weight, rtol=1e-6, atol=1e-6)


def test_stored_fp16_weights_become_float32():
    weight = random(3, 4)
    stored = OPERATORS["constexpr_cast"](source_val=weight.half(), output_dtype="fp32")
    assert stored.dtype == torch.float32 and torch.equal(stored, weight.half().float())


# The program around the operators

bits = st.lists(st.integers(-(2**15), 2**15 - 1), min_size=8, max_size=8)
"""Eight fp16 numbers, any of them."""

ONE_OF = {
    "relu": {},
    "relu6": {},
    "thresholded_relu": {"alpha": 0.30078125},
    "abs": {},
    "identity": {},
    "clip": {"alpha": -0.5, "beta": 0.25},
    "max_pool": {"kernel_sizes": [2, 2]},
    "reduce_max": {"axes": [2]},
    "reduce_min": {"axes": [2]},
    "reshape": {"shape": [1, 8]},
    "transpose": {"perm": [0, 2, 3, 1]},
    "expand_dims": {"axes": [0]},
    "squeeze": {"axes": [0]},
    "split": {"num_splits": 2, "axis": 2},
    "slice_by_index": {"begin": [0, 0, 1, 0], "end": [1, 2, 2, 2]},
    "slice_by_size": {"begin": [0, 1, 0, 0], "size": [1, 1, -1, 2]},
    "gather": {"indices": torch.tensor([1, 0]), "axis": 1},
    "tile": {"reps": [1, 2, 1, 1]},
    "upsample_nearest_neighbor": {"scale_factor_height": 2, "scale_factor_width": 2},
}
TWO_OF = {"add", "sub", "mul", "maximum", "minimum", "select", "concat", "stack"}


def test_every_operator_on_fp16_tensors_is_tried():
    assert ONE_OF.keys() | TWO_OF == HALF


@settings(max_examples=40, deadline=None, derandomize=True)
@given(x=bits, y=bits)
def test_operators_on_fp16_tensors_round_once(x, y):
    """Whatever the values, infinite, subnormal or none at all: bit for bit as in float32 and then rounded."""
    x, y = (torch.tensor(values, dtype=torch.int16).view(torch.float16).reshape(1, 2, 2, 2) for values in (x, y))

    def same(kind, half, single):
        outputs = [OPERATORS[kind](**inputs) for inputs in (half, single)]
        for a, b in zip(*(out if isinstance(out, tuple) else (out,) for out in outputs)):
            assert a.dtype == torch.float16, kind
            torch.testing.assert_close(a, b.half(), rtol=0, atol=0, equal_nan=True, msg=kind)

    for kind, options in ONE_OF.items():
        same(kind, {"x": x, **options}, {"x": x.float(), **options})
    for kind in ("add", "sub", "mul", "maximum", "minimum"):
        same(kind, {"x": x, "y": y}, {"x": x.float(), "y": y.float()})
    same("select", {"cond": x > y, "a": x, "b": y}, {"cond": x > y, "a": x.float(), "b": y.float()})
    for kind in ("concat", "stack"):
        same(kind, {"values": [x, y], "axis": 1}, {"values": [x.float(), y.float()], "axis": 1})


def test_every_value_is_observed_on_every_image():
    program = saved(lambda x: mb.mul(x=mb.relu(x=x, name="positive"), y=2.0, name="twice"), (1, 3))
    images = random(11, 1, 3)
    images[4, 0, 1], images[9, 0, 2] = -50.0, 40.0
    for threads in (1, 3):
        observed = program.observe(images, threads)
        assert (observed[program.input].low, observed[program.input].high) == (-50.0, 40.0)
        assert (observed["positive"].low, observed["twice"].high) == (0.0, 80.0)
        ours, theirs = observed["twice"], 2 * images[:, 0].clamp(0).numpy()
        np.testing.assert_allclose(ours.lows, theirs.min(1))
        np.testing.assert_allclose(ours.highs, theirs.max(1))
        np.testing.assert_allclose(np.sort(ours.values), np.sort(theirs.ravel()))
        np.testing.assert_allclose(ours.means, theirs.mean(0), rtol=1e-6)


def test_channels_means_are_over_photos_and_places():
    program = saved(lambda x: mb.mul(x=x, y=2.0, name="twice"), (1, 3, 4, 5))
    images = random(6, 1, 3, 4, 5)
    expected = ranges.joined([ranges.of_image(2 * image.numpy(), 6, channels_last=False) for image in images])
    ours = program.observe(images)["twice"]
    for name in ("lows", "highs", "values", "means"):
        np.testing.assert_allclose(getattr(ours, name), getattr(expected, name), rtol=1e-6)


def test_threads_change_nothing():
    weight = random(4, 3, 3, 3)
    program = saved(lambda x: mb.relu(x=mb.conv(x=x, weight=weight.numpy())), (1, 3, 6, 6))
    images = random(23, 1, 3, 6, 6)
    before = torch.get_num_threads()
    one, three = (program.evaluate_batch(images, threads)[0] for threads in (1, 3))
    assert torch.equal(one, three) and torch.get_num_threads() == before
    assert one.shape == (23, 1, 4, 4, 4)


def test_every_operator_is_tested_here():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in OPERATORS if f'"{kind}"' not in source and f"mb.{kind}(" not in source] == []


def test_fp16_values_are_rounded_after_every_operator():
    program = saved(lambda x: mb.cast(x=mb.add(x=mb.cast(x=x, dtype="fp16"), y=np.float16(1.0)), dtype="fp32"), (1, 4))
    x = torch.tensor([[1e-4, 0.1, 3.14159, 70000.0]])
    want = (x.half() + torch.tensor(1.0).half()).float()
    torch.testing.assert_close(program.evaluate(x)[0], want, rtol=0, atol=0)
    assert torch.isinf(want[0, 3])


def test_constant_expressions_are_evaluated_once():
    weight = random(4, 4)
    program = saved(lambda x: mb.add(x=x, y=mb.transpose(x=mb.const(val=weight.numpy()), perm=[1, 0])), (1, 4, 4))
    assert [step.operator for step in program.steps] == ["add"]
    torch.testing.assert_close(program.evaluate(torch.zeros(1, 4, 4))[0], weight.mT[None], rtol=0, atol=0)


def test_an_unknown_operator_is_named():
    with pytest.raises(InputError, match=r"'non_zero'.*not known"):
        saved(lambda x: mb.non_zero(x=x), (3, 4))
