"""Depthwise convolutions over maps smaller than their kernel, whose gradient is slow on a CPU.

There oneDNN leaves the weights' gradient to its reference code, which takes several times as long as the plain sums
below. Students of small images feel it most: at 32 to 96 pixels their last maps have one to three rows.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def quicken(model: nn.Module) -> None:
    """Have a model's depthwise convolutions, trained on a CPU, take the quicker way over small maps. In place."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and is_affected(module):
            module._conv_forward = MethodType(_conv_forward, module)  # type: ignore[method-assign]


def is_affected(conv: nn.Conv2d) -> bool:
    """Whether a layer is a depthwise convolution of one filter per channel, with plain zero padding."""
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and max(conv.kernel_size) > 1
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def _conv_forward(
    self: nn.Conv2d, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    rows, columns = images.shape[-2:]
    small = rows < self.kernel_size[0] or columns < self.kernel_size[1]
    plain = images.device.type == "cpu" and images.dtype == weight.dtype == torch.float32
    if not (small and plain and images.dim() == 4 and self.training and torch.is_grad_enabled()):
        return nn.Conv2d._conv_forward(self, images, weight, bias)
    answer: torch.Tensor = _Depthwise.apply(images, weight, self.stride, self.padding)
    return answer if bias is None else answer + bias[:, None, None]


class _Depthwise(torch.autograd.Function):
    """The convolution as torch computes it, with another way to its weights' gradient."""

    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> torch.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(images, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        [gradient] = gradients
        of_images, of_weight = None, None
        if ctx.needs_input_grad[0]:
            how = (ctx.stride, ctx.padding, (1, 1), False, (0, 0), len(weight), (True, False, False))
            of_images, _, _ = torch.ops.aten.convolution_backward(gradient, images, weight, None, *how)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(images, gradient, weight, ctx.stride, ctx.padding)
        return of_images, of_weight, None, None


def weight_gradient(
    images: torch.Tensor,
    gradient: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> torch.Tensor:
    """The gradient of a depthwise convolution's weights.

    Args:
        images: float32 (N, C, H, W), what the layer saw.
        gradient: float32 (N, C, h, w), the loss's gradient at what it answered.
        weight: float32 (C, 1, rows, columns); only its shape is used.
        stride: of rows and columns.
        padding: rows and columns of zeros on each side.

    Returns:
        float32 (C, 1, rows, columns): for each place in the filter the sum, over images and pixels, of the pixel there
        times the gradient.
    """
    channels, _, rows, columns = weight.shape
    height, width = gradient.shape[-2:]
    (down, right), (above, left) = stride, padding
    padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, left, left, above, above)).contiguous()
    outputs = gradient.permute(0, 2, 3, 1)
    sums = padded.new_empty(rows, columns, channels)
    for row in range(rows):
        for column in range(columns):
            pixels = padded[:, row : row + down * height : down, column : column + right * width : right]
            torch.sum((pixels * outputs).reshape(-1, channels), 0, out=sums[row, column])
    return sums.permute(2, 0, 1).unsqueeze(1)
