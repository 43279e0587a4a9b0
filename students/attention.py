"""Attention that converters take: multi-query (arXiv 1911.02150) as two plain matrix products, and separable."""

from __future__ import annotations

import torch
from timm.layers import MultiQueryAttention2d
from timm.models.mobilevit import LinearSelfAttention
from torch import nn


class Attend(nn.Module):
    """softmax(q kᵀ) v, where the heads share their keys and values.

    timm's `MultiQueryAttention2d` gives each head its own axis, and the one pair of keys and values is then repeated
    for every head. But the heads of a pixel can as well be further rows of one matrix: in a channels-last map they
    stand one behind another already, so nothing is repeated and nothing is moved.

    Args:
        num_heads: queries a pixel.

    Shapes: q (N, heads · d, H, W), scaled; k (N, d, h, w); v (N, e, h, w) -> (N, heads · e, H, W).
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values -> one map."""
        count, channels, height, width = q.shape
        rows = q.permute(0, 2, 3, 1).reshape(count, -1, channels // self.num_heads)
        values = v.permute(0, 2, 3, 1).flatten(1, 2)
        mixed = torch.softmax(rows @ k.flatten(2), dim=-1) @ values
        return mixed.reshape(count, height, width, -1).permute(0, 3, 1, 2)


class PlainAttention(nn.Module):
    """timm's `MultiQueryAttention2d` around `Attend`, with its weights; the scale goes into the query's."""

    def __init__(self, timms: MultiQueryAttention2d) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = timms.query, timms.key, timms.value, timms.output
        self.attend = Attend(timms.num_heads)
        with torch.no_grad():
            for parameter in self.query.get_submodule("proj").parameters():
                parameter.mul_(timms.scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', H, W)."""
        return self.output(self.attend(self.query(x), self.key(x), self.value(x)))


class SeparableAttention(nn.Module):
    """timm's `LinearSelfAttention` (MobileViTv2, arXiv 2206.02680, section 3.1), with its weights.

    timm computes scores, keys and values in one convolution and takes them apart; LiteRT's converter then multiplies
    parts of the wrong shape. Here each has its own.
    """

    def __init__(self, timms: LinearSelfAttention) -> None:
        super().__init__()
        width = timms.embed_dim
        self.score, self.key, self.value = (
            _channels(timms.qkv_proj, start, end) for start, end in ((0, 1), (1, 1 + width), (1 + width, 1 + 2 * width))
        )
        self.output = timms.out_proj

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, pixels of a patch, patches) -> the same."""
        context = (self.key(x) * self.score(x).softmax(-1)).sum(-1, keepdim=True)
        mixed: torch.Tensor = self.output(self.value(x).relu() * context)
        return mixed


@torch.no_grad()
def _channels(conv: nn.Conv2d, start: int, end: int) -> nn.Conv2d:
    """Some output channels of a pointwise convolution as one of its own."""
    part = nn.Conv2d(conv.in_channels, end - start, 1, bias=conv.bias is not None)
    part.weight = nn.Parameter(conv.weight[start:end].clone())
    if conv.bias is not None:
        part.bias = nn.Parameter(conv.bias[start:end].clone())
    return part
