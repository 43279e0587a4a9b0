"""Strided 1 x 1 convolutions of few channels, whose gradient oneDNN gets wrong.

For channels-last images, oneDNN's gradient of such a layer's weights writes past the end of a buffer: the process
hangs, crashes, or goes on with wrong weights (https://github.com/uxlfoundation/oneDNN/issues/6035). MobileOne,
RepVGG and FastViT begin with such a layer. It reads every n-th pixel only, so those pixels alone give the same answer.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch import nn
from torch.nn import functional

CHANNELS = 16
"""oneDNN takes so many channels at a time with AVX-512, half as many with AVX2. Fewer than that go wrong."""


def guard(model: nn.Module) -> None:
    """Have such layers of a model, trained on a CPU, take the pixels they read and no others. In place."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and is_affected(module):
            module._conv_forward = MethodType(_conv_forward, module)  # type: ignore[method-assign]


def is_affected(conv: nn.Conv2d) -> bool:
    """Whether a layer is one that oneDNN may get wrong."""
    return (
        conv.kernel_size == (1, 1)
        and conv.stride != (1, 1)
        and conv.padding in ((0, 0), "valid")
        and conv.groups == 1
        and conv.in_channels < CHANNELS
    )


def _conv_forward(
    self: nn.Conv2d, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    if not self.training or images.device.type != "cpu":
        return nn.Conv2d._conv_forward(self, images, weight, bias)
    rows, columns = self.stride
    return functional.conv2d(images[..., ::rows, ::columns], weight, bias)
