"""Strided 1 x 1 convolutions of few channels are trained with the right gradients, by processes that survive."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from torch import nn

from attar.train import strided_conv

TRAINED = """
import sys, torch
from attar.train import strided_conv
conv = torch.nn.Conv2d(3, 64, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
if sys.argv[1] == "guarded":
    strided_conv.guard(conv)
for _ in range(200):
    images = torch.rand(36, 3, 32, 32).to(memory_format=torch.channels_last).requires_grad_()
    conv(images).square().sum().backward()
    others = [torch.rand(64 * size + 7) for size in range(50)]
print("done")
"""


def train(how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TRAINED, how]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_a_process_that_trains_such_a_layer_survives():
    """Without the guard, torch 2.14 ends by a signal or hangs here, on CPUs with AVX2 or AVX-512."""
    ended = train("guarded")
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("channels", "stride", "side"), [(3, 2, 8), (1, 3, 7), (4, (2, 1), 6), (15, 2, 5)])
def test_answers_and_gradients_are_those_of_numpy(channels, stride, side, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, 5, 1, stride=stride, bias=bias)
    strided_conv.guard(conv)
    images = torch.rand(2, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
    out = conv(images)
    ahead = torch.rand_like(out)
    (out * ahead).sum().backward()
    rows, columns = conv.stride
    taken = images.detach().numpy()[:, :, ::rows, ::columns]
    weight = conv.weight.detach().numpy()[:, :, 0, 0]
    expected = np.einsum("nchw,oc->nohw", taken, weight)
    if bias:
        expected += conv.bias.detach().numpy()[None, :, None, None]
        assert np.allclose(conv.bias.grad, ahead.numpy().sum((0, 2, 3)), atol=1e-5)
    assert np.allclose(out.detach(), expected, atol=1e-5)
    assert np.allclose(conv.weight.grad[:, :, 0, 0], np.einsum("nohw,nchw->oc", ahead.numpy(), taken), atol=1e-4)
    back = np.zeros(images.shape, np.float32)
    back[:, :, ::rows, ::columns] = np.einsum("nohw,oc->nchw", ahead.numpy(), weight)
    assert np.allclose(images.grad, back, atol=1e-5)


def test_evaluation_and_other_layers_are_left_as_they_are():
    convs = [
        nn.Conv2d(16, 4, 1, stride=2),
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.Conv2d(3, 3, 1, stride=2, groups=3),
        nn.Conv2d(3, 4, 1, stride=2, padding=1),
    ]
    for conv in convs:
        strided_conv.guard(conv)
        assert "_conv_forward" not in vars(conv)
    conv = nn.Conv2d(3, 4, 1, stride=2).eval()
    plain = copy.deepcopy(conv)
    strided_conv.guard(conv)
    exported = torch.export.export(conv, (torch.rand(1, 3, 8, 8),))
    assert [str(node.target) for node in exported.graph.nodes if node.op == "call_function"] == ["aten.conv2d.default"]
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(conv(images), plain(images))


@pytest.mark.parametrize("name", ["mobileone_s0", "repvgg_a0", "fastvit_t8"])
def test_a_copy_of_a_guarded_network_uses_its_own_weights(name):
    """The averaged weights are such a copy."""
    model = timm.create_model(name, num_classes=3)
    strided_conv.guard(model)
    twin = copy.deepcopy(model)
    [guarded] = [module for module in twin.modules() if "_conv_forward" in vars(module)]
    assert vars(guarded)["_conv_forward"].__self__ is guarded
