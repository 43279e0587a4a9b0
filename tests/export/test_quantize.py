"""The tools that keep integers accurate, each by itself, on the float graph of a real student."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attar import students
from attar.export.capture_output import captured
from attar.export.plan import QuantizationPlan
from attar.export.ranges import (
    ESTIMATORS,
    Activation,
    average,
    estimated,
    joined,
    least_squares,
    of_image,
    percentile,
    quantized,
    whole,
)
from attar.export.runners.litert import _partitions
from attar.export.tflite import graph, islands
from attar.export.tflite.bias import correct_biases
from attar.export.tflite.equalize import equalize, pairs
from attar.export.tflite.layers import NONE, RELU, constant, drop_unread, kind_of, layers, set_input
from attar.export.tflite.observe import observe
from attar.export.tflite.quantize import Quantization
from attar.students.rewrites import phone_safe

for package in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"):
    pytest.importorskip(package)

SIDE = 32
FLOAT32, INT8 = 0, 9
"""Types of tensors, as the schema numbers them."""


def float_file(name: str) -> bytes:
    """The float .tflite of a student whose channels differ by two orders of magnitude."""
    import litert_torch

    from attar.export.litert import _ChannelsLast

    torch.manual_seed(0)
    student = students.create_student(name, 5).eval()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(-2.3, 2.3).exp_()
            torch.nn.init.normal_(module.bias)
    student.train()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder, captured():
        for _ in range(20):
            student(torch.randint(0, 256, (16, 3, SIDE, SIDE)))
        classifier = student.eval().network.head.classifier
        torch.nn.init.normal_(classifier.weight)
        classifier.weight.div_(student(torch.randint(0, 256, (16, 3, SIDE, SIDE))).std())
        network = _ChannelsLast(phone_safe(student.network)).eval()
        path = Path(folder) / "float.tflite"
        litert_torch.convert(network, (torch.zeros(1, SIDE, SIDE, 3),)).export(str(path))
        return path.read_bytes()


@pytest.fixture(scope="module")
def content() -> bytes:
    return float_file("mobilenetv4_conv_small_035")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (8, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def quantization(content, images) -> Quantization:
    return Quantization(content, images)


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    """The answers of a file: float32 for a float input, and for an int8 one of scale 1/128."""
    from ai_edge_litert.interpreter import Interpreter

    with captured():
        interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    [into], [out] = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for image in images:
        integer = np.clip(np.round(image * 128), -128, 127).astype(np.int8)
        interpreter.set_tensor(into["index"], (integer if into["dtype"] is np.int8 else image)[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(out["index"])[0].copy())
    return np.array(answers)


def logits(content: bytes, images: np.ndarray) -> np.ndarray:
    """Up to a constant for each image."""
    values = np.log(run(content, images).astype(np.float64))
    return values - values.mean(1, keepdims=True)


def spread_of(content: bytes) -> float:
    """How far apart the channels of the activations between pairs are: mean over pairs of max / median."""
    model = graph.read(content)
    ratios = [
        np.abs(first.weight).max(axis=tuple(i for i in range(first.weight.ndim) if i != first.output_axis))
        for first, _ in pairs(model)
    ]
    return float(np.mean([ratio.max() / np.median(ratio) for ratio in ratios]))


# --- equalization --------------------------------------------------------------------------------


def test_equalization_is_exact_and_brings_channels_together(content, images):
    model = graph.read(content)
    count = equalize(model)
    equalized = graph.write(model)
    want, outputs = logits(content, images), logits(equalized, images)
    assert count >= 10 and np.ptp(want) > 1
    assert np.abs(want - outputs).max() <= 1e-4 * np.abs(want).max()
    assert spread_of(equalized) < 0.7 * spread_of(content)
    assert abs(len(equalized) - len(content)) < 0.02 * len(content)  # what was replaced is gone


@pytest.mark.slow
def test_only_what_commutes_with_a_factor_is_paired():
    """MobileNetV2 clips at 6: only its linear layers, and the head's, may be the first of a pair."""
    model = graph.read(float_file("mobilenetv2_035"))
    paired = pairs(model)
    assert len(paired) >= 3 and {first.activation for first, _ in paired} == {NONE, RELU}
    assert all(first.name.startswith("head") for first, _ in paired if first.activation == RELU)
    assert {layer.activation for layer in layers(model)} == {NONE, RELU, "RELU6"}
    added = {int(i) for op in model.subgraphs[0].operators if len(op.inputs) == 2 for i in op.inputs}
    assert not any(int(first.operator.outputs[0]) in added for first, _ in paired)


def test_layers_cover_every_operator_after_the_first_and_have_names_of_their_own(content):
    model = graph.read(content)
    listed = layers(model)
    outputs = [output for layer in listed for output in layer.outputs]
    made = [model.subgraphs[0].tensors[i].name.decode() for op in model.subgraphs[0].operators for i in op.outputs]
    assert outputs == made[len(made) - len(outputs) :] and len(made) - len(outputs) <= 2
    names = [layer.name for layer in listed]
    assert len(set(names)) == len(names) and "head.classifier" in names


def test_a_constant_that_others_share_keeps_its_value_for_them(content, images):
    model = graph.read(content)
    first, second = layers(model)[:2]
    second.operator.inputs = np.array([*second.operator.inputs[:2], first.operator.inputs[2]], np.int32)
    set_input(model, first.operator, 2, np.full_like(first.bias, 7))
    drop_unread(model)
    assert (constant(model, first.operator, 2) == 7).all()
    np.testing.assert_array_equal(constant(model, second.operator, 2), first.bias)


# --- bias correction -----------------------------------------------------------------------------


def test_bias_correction_undoes_the_mean_error_of_rounded_weights(content, images, quantization):
    """Of a pointwise layer exactly: its output's channel means come back to those of the float weights."""
    with captured():
        rounded = layers(graph.read(quantization.quantize(QuantizationPlan())))
        seen = observe(content, images)
    means = {name: activation.means for name, activation in seen.items()}
    model = graph.read(content)
    correct_biases(model, rounded, means)
    corrected = layers(model)
    place = [i for i, layer in enumerate(corrected) if "pw_proj" in layer.name][-1]

    def output_means(bias: np.ndarray) -> np.ndarray:
        model = graph.read(content)
        layer = layers(model)[place]
        set_input(model, layer.operator, 1, rounded[place].weight)
        set_input(model, layer.operator, 2, bias)
        drop_unread(model)
        with captured():
            return observe(graph.write(model), images)[layer.outputs[0]].means

    original = layers(graph.read(content))[place]
    want = means[original.outputs[0]]
    before = np.abs(output_means(original.bias) - want).max()
    after = np.abs(output_means(corrected[place].bias) - want).max()
    assert before > 1e-4 and after < 0.02 * before


# --- ranges --------------------------------------------------------------------------------------

values = arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False))


def activation(values: np.ndarray) -> Activation:
    return Activation(values.min(keepdims=True), values.max(keepdims=True), values, np.zeros(1))


@given(values)
def test_integers_of_a_range_are_off_by_half_a_step_at_most(values):
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    assume(high - low > 1e-3)
    step = (high - low) / 255
    # The zero point is rounded too, so an end may be clipped by half a step more.
    assert np.abs(quantized(values, low, high) - values).max() <= 1.01 * step


@given(values)
def test_the_least_squares_range_is_no_worse_than_the_whole_one(values):
    low, high = whole(activation(values))
    low, high = min(0.0, low), max(0.0, high)
    assume(high - low > 1e-3)
    least = least_squares(activation(values))
    assert low <= least[0] <= 0 <= least[1] <= high
    error = [np.square(values - quantized(values, *ends)).mean() for ends in ((low, high), least)]
    assert error[1] <= error[0] * (1 + 1e-6)


def test_one_outlier_in_many_is_left_out():
    some = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    some[7] = 1e4
    assert whole(activation(some))[1] == 1e4
    assert percentile(activation(some))[1] < 6
    # Clipping 1e4 costs more than rounding everything else: least squares weighs the two, and keeps it.
    assert least_squares(activation(some))[1] > 1e3


def test_an_image_of_outliers_moves_the_average_little():
    usual = Activation(np.full(99, -1.0), np.full(99, 2.0), np.zeros(1), np.zeros(1))
    odd = Activation(np.append(usual.lows, -100), np.append(usual.highs, 200), np.zeros(1), np.zeros(1))
    assert whole(odd) == (-100, 200) and average(odd) == pytest.approx((-1.99, 3.98))
    assert average(usual) == whole(usual) == (-1, 2)


def test_ranges_hold_what_was_seen(content, images):
    with captured():
        seen = observe(content, images)
    out = layers(graph.read(content))[-1].outputs[0]
    assert seen[out].values.min() >= seen[out].low and seen[out].values.max() <= seen[out].high
    assert len(seen[out].lows) == len(seen[out].highs) == len(images)
    assert seen[out].means.shape == (5,) and seen[out].low < seen[out].means.min() < seen[out].high
    first = next(name for name, each in seen.items() if each.means.shape == (3,))
    np.testing.assert_allclose(seen[first].means, images.mean((0, 1, 2)), rtol=1e-3, atol=1e-6)


# --- plans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        QuantizationPlan("whole"),
        QuantizationPlan("average"),
        QuantizationPlan("percentile"),
        QuantizationPlan("mse", "octav"),
        QuantizationPlan("mse", equalize=True, correct_bias=True),
    ],
    ids=lambda plan: f"{plan.ranges}-{plan.weights}-{plan.equalize}",
)
def test_every_plan_gives_a_whole_integer_file(quantization, plan):
    with captured():
        made = graph.read(quantization.quantize(plan))
    kinds = {tensor.type for tensor in made.subgraphs[0].tensors}
    assert len(layers(made)) == len(quantization.layers)
    # Only the logits, dequantized, and their softmax are float (type 0).
    assert sum(tensor.type == 0 for tensor in made.subgraphs[0].tensors) == 2 and 9 in kinds
    assert made.subgraphs[0].tensors[made.subgraphs[0].inputs[0]].quantization.scale == pytest.approx(1 / 128)


def test_a_layer_that_stays_float_keeps_its_weights(quantization, content):
    kept = quantization.layers[0], quantization.layers[5]
    with captured():
        made = layers(graph.read(quantization.quantize(QuantizationPlan(keep_float=kept))))
    original = layers(graph.read(content))
    same = [np.array_equal(a.weight, b.weight) for a, b in zip(made, original, strict=True)]
    assert [quantization.layers[i] for i, equal in enumerate(same) if equal] == list(kept)


def test_with_every_layer_float_nothing_is_lost_but_the_rounding_of_pixels(quantization, content, images):
    with captured():
        made = quantization.quantize(QuantizationPlan(keep_float=quantization.layers))
    pixels = np.clip(np.round(images * 128), -128, 127) / 128
    want, outputs = logits(content, pixels.astype(np.float32)), logits(made, pixels.astype(np.float32))
    assert np.abs(want - outputs).max() <= 1e-4 * np.abs(want).max()


def converted(network: torch.nn.Module, folder: Path) -> bytes:
    """The float .tflite of a network of normalized images."""
    import litert_torch

    from attar.export.litert import _ChannelsLast

    with captured():
        made = litert_torch.convert(_ChannelsLast(phone_safe(network)).eval(), (torch.zeros(1, SIDE, SIDE, 3),))
        made.export(str(folder / "float.tflite"))
    return (folder / "float.tflite").read_bytes()


@pytest.mark.parametrize("between", [torch.nn.ReLU(), torch.nn.Identity()])
def test_a_max_pool_that_pads_is_integer_and_in_one_piece(images, between, tmp_path):
    """Minus infinity, which it pads with, has no integer."""
    from attar.export.litert import LiteRTRunner

    torch.manual_seed(0)
    first, last = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.Conv2d(8, 4, 3, 2)
    network = torch.nn.Sequential(first, between, torch.nn.MaxPool2d(3, 2, 1), last, torch.nn.Flatten()).eval()
    whole_one = Quantization(converted(network, tmp_path), images).quantize(QuantizationPlan())
    (tmp_path / "int8.tflite").write_bytes(whole_one)
    with torch.no_grad():
        right = network(torch.from_numpy(images).permute(0, 3, 1, 2)).softmax(1).numpy()
    assert np.abs(run(whole_one, images) - right).max() < 0.05 * right.max()
    with captured():
        for name in ("float", "int8"):
            assert LiteRTRunner(tmp_path / f"{name}.tflite").partitions["outside"] == []


@pytest.mark.parametrize("dead", ["behind a ReLU", "weights", "one channel's weights"])
@torch.no_grad()
def test_what_is_always_zero_is_quantized_too(images, dead, tmp_path):
    """A ReLU that never opens leaves a tensor without a range, and a channel without weights has no step."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, 2),
        torch.nn.Flatten(),
    ).eval()
    if dead == "behind a ReLU":
        network[2].bias.fill_(-100)
    else:
        network[2].weight[None if dead == "weights" else 3] = 0
    whole_one = Quantization(converted(network, tmp_path), images).quantize(QuantizationPlan())
    right = network(torch.from_numpy(images).permute(0, 3, 1, 2)).softmax(1).numpy()
    assert np.abs(run(whole_one, images) - right).max() < 0.05 * right.max()


@given(
    st.floats(-1e-7, 0, allow_subnormal=False),
    st.floats(0, 1e-7, allow_subnormal=False),
    st.sampled_from(["whole", "average", "percentile", "mse"]),
)
def test_every_range_is_wide_enough_for_steps(low, high, kind):
    values = np.array([low, high], np.float32)
    least, most = estimated(kind, Activation(values[:1], values[1:], values, values.mean(keepdims=True)))
    assert least <= min(low, 0) + 1e-9 and most - least == pytest.approx(1)
    wide = values + np.float32([-1, 1])
    seen = Activation(wide[:1], wide[1:], wide, wide.mean(keepdims=True))
    assert estimated(kind, seen) == ESTIMATORS[kind](seen)


def test_tensors_of_several_widths_have_one_range():
    parts = [of_image(np.full((1, 2, 2, width), float(width), np.float32), 3) for width in (2, 2, 4)]
    seen = joined(parts)
    assert whole(seen) == (2, 4) and not len(seen.means) and len(joined(parts[:2]).means) == 2


class Normed(torch.nn.Module):
    """Convolutions around a layer norm, a GELU, a division and an attention, which XNNPACK has in float alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (torch.nn.Conv2d(i, o, 3, 2) for i, o in ((3, 8), (8, 8), (8, 5)))
        self.norm = torch.nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = torch.nn.functional.gelu(self.second(x))
        x = x / (x.abs().mean(1, keepdim=True) + 0.1)
        rows = x.flatten(2)
        x = (rows @ (rows.transpose(1, 2) @ rows / 8).softmax(-1)).reshape(x.shape)
        return self.last(x).mean((2, 3)).softmax(1)


def test_what_has_no_integer_kernel_stays_float_and_the_file_in_one_piece(images, tmp_path):
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter

    torch.manual_seed(0)
    network = Normed().eval()
    path = tmp_path / "float.tflite"
    with captured():
        litert_torch.convert(network, (torch.zeros(1, SIDE, SIDE, 3),)).export(str(path))
        made = Quantization(path.read_bytes(), images).quantize(QuantizationPlan())
    model = graph.read(made)
    kinds = [kind_of(model, each) for each in model.subgraphs[0].operators]
    assert {"GELU", "DIV", "RSQRT", "BATCH_MATMUL"} <= {*kinds} and kinds.count("CONV_2D") == 3
    tensors = model.subgraphs[0].tensors
    types = [tensors[each.outputs[0]].type for each in model.subgraphs[0].operators]
    assert {type for kind, type in zip(kinds, types) if kind in {*islands.WITHOUT, "BATCH_MATMUL"}} == {FLOAT32}
    assert {type for kind, type in zip(kinds, types) if kind == "CONV_2D"} == {INT8}
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    assert np.abs(run(made, images) - expected).max() < 0.02
    interpreter = Interpreter(model_content=made, num_threads=1)
    interpreter.allocate_tensors()
    assert _partitions(interpreter._get_ops_details()) == {"delegated": 1, "outside": []}


def test_where_integers_have_every_kernel_nothing_stays_float(content):
    assert islands.islands(graph.read(content)) == []
