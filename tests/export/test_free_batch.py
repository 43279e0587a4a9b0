"""Graphs that were traced with one size of the batch, and take any afterwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from attar.export import free_batch, onnx
from attar.extras import require

SIZE = 8


class Of(nn.Module):
    """A function of images (N, 3, 8, 8) as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.function(images)


def windows(images: torch.Tensor) -> torch.Tensor:
    """Attention's way: windows of all images in one row, and back."""
    count, channels, height, width = images.shape
    parts = images.reshape(count, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 3, 5, 1)
    rows = parts.reshape(-1, 16, channels)
    mixed = torch.softmax(rows @ rows.transpose(1, 2), dim=-1) @ rows
    back = mixed.reshape(count, height // 4, width // 4, 4, 4, channels).permute(0, 5, 1, 3, 2, 4)
    return back.reshape(count, channels, height, width).flatten(1)


def repeated(images: torch.Tensor) -> torch.Tensor:
    """An Expand of what has the batch's size already."""
    return images.mean(dim=3, keepdim=True).expand(-1, -1, -1, 5).flatten(1) * 2


FREED = {
    "flatten": lambda images: images.flatten(1),
    "windows": windows,
    "repeated": repeated,
    "sides left to be inferred": lambda images: images.reshape(images.shape[0], 3, -1).mean(2),
}

REFUSED = {
    "a constant of the batch's size": lambda images: (images + torch.ones(images.shape[0], 1, 1, 1)).flatten(1),
    "a token for every image": lambda images: torch.cat(
        [torch.full((1, 1, 64), 2.0).expand(images.shape[0], -1, -1), images.flatten(2)], dim=1
    ).flatten(1),
    "a number of the batch's size": lambda images: images.flatten(1).repeat_interleave(images.shape[0], 0),
    "as many channels": lambda images: images.flatten(1) @ torch.ones(192, free_batch.TRACED),
}


def traced(function: Callable[[torch.Tensor], torch.Tensor]):
    return onnx._traced(Of(function), SIZE, ["result"], free_batch.TRACED)


@pytest.mark.parametrize("function", FREED.values(), ids=FREED)
def test_a_freed_graph_answers_batches_of_any_size(function):
    model = traced(function)
    assert free_batch.free(model)
    require("onnx").checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == free_batch.NAME
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for count in (1, 2, 7, free_batch.TRACED):
        images = torch.randn(count, 3, SIZE, SIZE)
        [answer] = session.run(None, {"normalized": images.numpy()})
        np.testing.assert_allclose(answer, function(images).numpy(), atol=1e-5)


@pytest.mark.parametrize("function", REFUSED.values(), ids=REFUSED)
def test_a_size_that_may_stand_elsewhere_is_refused(function):
    assert not free_batch.free(traced(function))


@pytest.mark.parametrize("function", [FREED["windows"], REFUSED["a token for every image"]], ids=["freed", "refused"])
def test_what_is_refused_is_traced_again_with_a_free_size(function):
    model = onnx._of_any_batch(Of(function), SIZE, ["result"])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for count in (1, 3):
        images = torch.randn(count, 3, SIZE, SIZE)
        [answer] = session.run(None, {"normalized": images.numpy()})
        np.testing.assert_allclose(answer, function(images).numpy(), atol=1e-5)


sides = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(sides, st.integers(0, 3), st.integers(1, 4), st.integers(1, 5), st.randoms())
def test_reshapes_of_any_graph(rest, place, factor, count, random):
    """Any two shapes of one number of elements whose one side depends on the batch, as Reshape's target."""
    helper, kinds = require("onnx.helper"), require("onnx").TensorProto
    after = [*rest, factor]
    random.shuffle(after)
    place = min(place, len(rest))
    target = [*rest[:place], factor * free_batch.TRACED, *rest[place:]]
    before = [free_batch.TRACED, *after]
    shape = require("onnx.numpy_helper").from_array(np.array(target, np.int64), "target")
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "target"], ["y"])],
        "reshape",
        [helper.make_tensor_value_info("x", kinds.FLOAT, before)],
        [helper.make_tensor_value_info("y", kinds.FLOAT, target)],
        [shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert free_batch.free(model)
    model.graph.output[0].type.tensor_type.shape.Clear()
    x = np.arange(count * np.prod(after), dtype=np.float32).reshape(count, *after)
    [y] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(
        y, x.reshape([side if side % free_batch.TRACED else factor * count for side in target])
    )
