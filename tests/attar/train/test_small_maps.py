"""Depthwise convolutions over small maps: the answers are torch's, bit for bit, and the gradients NumPy's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from attar.train import small_maps


def by_numpy(images: np.ndarray, gradient: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """The weights' gradient, pixel by pixel in double precision."""
    (down, right), (above, left) = conv.stride, conv.padding
    padded = np.pad(images.astype(np.float64), ((0, 0), (0, 0), (above, above), (left, left)))
    rows, columns = conv.kernel_size
    sums = np.zeros((images.shape[1], 1, rows, columns))
    for y in range(gradient.shape[2]):
        for x in range(gradient.shape[3]):
            seen = padded[:, :, y * down : y * down + rows, x * right : x * right + columns]
            sums[:, 0] += (seen * gradient[:, :, y, x, None, None]).sum(0)
    return sums


@settings(deadline=None, max_examples=60)
@given(
    kernel=some.tuples(some.sampled_from([1, 2, 3, 5, 7]), some.sampled_from([2, 3, 5, 7])),
    stride=some.tuples(some.integers(1, 3), some.integers(1, 3)),
    sides=some.tuples(some.integers(1, 6), some.integers(1, 6)),
    more=some.tuples(some.integers(0, 1), some.integers(0, 1)),
    bias=some.booleans(),
    last=some.booleans(),
)
def test_answers_are_torchs_and_gradients_numpys(kernel, stride, sides, more, bias, last):
    torch.manual_seed(0)
    padding = tuple(side // 2 + each for side, each in zip(kernel, more, strict=True))
    conv = nn.Conv2d(6, 6, kernel, stride=stride, padding=padding, groups=6, bias=bias)
    plain = copy.deepcopy(conv)
    small_maps.quicken(conv)
    images = torch.rand(3, 6, *sides)
    if last:
        images = images.to(memory_format=torch.channels_last)
    images, twin = images.clone().requires_grad_(), images.clone().requires_grad_()
    out, expected = conv(images), plain(twin)
    assert torch.equal(out, expected) or (bias and torch.allclose(out, expected, atol=1e-6))
    ahead = torch.rand_like(out)
    (out * ahead).sum().backward()
    (expected * ahead).sum().backward()
    assert torch.allclose(images.grad, twin.grad, atol=1e-5)
    assert np.allclose(conv.weight.grad, by_numpy(images.detach().numpy(), ahead.numpy(), conv), atol=1e-4)
    if bias:
        assert torch.allclose(conv.bias.grad, plain.bias.grad, atol=1e-4)


def test_the_quick_way_is_taken_in_training_over_small_maps_alone(monkeypatch):
    taken = []
    gradient = small_maps.weight_gradient
    monkeypatch.setattr(small_maps, "weight_gradient", lambda *each: taken.append(each) or gradient(*each))
    conv = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    small_maps.quicken(conv)
    conv(torch.rand(2, 8, 4, 4)).sum().backward()
    assert len(taken) == 1
    conv(torch.rand(2, 8, 5, 5)).sum().backward()
    conv.eval()(torch.rand(2, 8, 4, 4)).sum().backward()
    assert len(taken) == 1
    frozen = nn.Conv2d(8, 8, 5, padding=2, groups=8).requires_grad_(False)
    small_maps.quicken(frozen)
    images = torch.rand(2, 8, 4, 4).requires_grad_()
    frozen(images).sum().backward()
    assert len(taken) == 1 and images.grad is not None


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 1, groups=8),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.Conv2d(8, 8, 3, padding="same", groups=8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect"),
        nn.Conv2d(1, 1, 3, padding=1),
    ],
    ids=["full", "two filters", "one pixel", "dilated", "same", "reflected", "one channel"],
)
def test_other_layers_are_left_as_they_are(conv):
    small_maps.quicken(conv)
    assert "_conv_forward" not in vars(conv)


def test_files_are_made_of_the_plain_operator():
    conv = nn.Conv2d(8, 8, 5, padding=2, groups=8).eval()
    small_maps.quicken(conv)
    exported = torch.export.export(conv, (torch.rand(1, 8, 2, 2),))
    assert [str(node.target) for node in exported.graph.nodes if node.op == "call_function"] == ["aten.conv2d.default"]
