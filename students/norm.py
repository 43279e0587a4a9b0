"""Group normalization (arXiv 1803.08494) as LiteRT's XNNPACK takes it."""

from __future__ import annotations

import torch
from torch import nn


class PlainGroupNorm(nn.Module):
    """`nn.GroupNorm` in means and products, with its weights.

    LiteRT's converter broadcasts weight and bias with an operator that XNNPACK lacks, and each splits the graph.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.num_groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) -> the same."""
        groups = x.flatten(1).unflatten(1, (self.num_groups, -1))
        centred = groups - groups.mean(2, keepdim=True)
        normal = centred * torch.rsqrt((centred * centred).mean(2, keepdim=True) + self.eps)
        channels = normal.reshape(x.shape).flatten(2)
        if self.weight is not None:
            channels = channels * self.weight[:, None] + self.bias[:, None]
        return channels.reshape(x.shape)
