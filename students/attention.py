"""Attention that converters take: multi-query as two plain matrix products, separable, and in windows."""

from __future__ import annotations

import torch
from timm.layers import MultiQueryAttention2d
from timm.models.efficientvit_msra import LocalWindowAttention
from timm.models.mobilevit import LinearSelfAttention
from timm.models.tiny_vit import TinyVitBlock
from torch import nn
from torch.nn import functional


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
    """timm's `MultiQueryAttention2d` (arXiv 1911.02150) around `Attend`; the scale goes into the query's weights."""

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


class WindowAttention(nn.Module):
    """timm's `LocalWindowAttention` (EfficientViT, arXiv 2305.07027), with its weights, in four dimensions."""

    def __init__(self, timms: LocalWindowAttention) -> None:
        super().__init__()
        self.attn = timms.attn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> the same."""
        side: int = self.attn.resolution
        if x.shape[2:] == (side, side):
            return self._attended(x)
        x = x.permute(0, 2, 3, 1)
        windows = self._attended(_windows(x, side).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return _whole(windows, x).permute(0, 3, 1, 2)

    def _attended(self, x: torch.Tensor) -> torch.Tensor:
        attended: torch.Tensor = self.attn(x)
        return attended


class WindowBlock(nn.Module):
    """timm's `TinyVitBlock` (arXiv 2207.10666, section 3.3), with its weights, in four dimensions."""

    def __init__(self, timms: TinyVitBlock) -> None:
        super().__init__()
        self.window_size, self.attn, self.local_conv, self.mlp = (
            timms.window_size,
            timms.attn,
            timms.local_conv,
            timms.mlp,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H, W, C) -> the same."""
        side = self.window_size
        windows = x if x.shape[1:3] == (side, side) else _windows(x, side)
        attended = self.attn(windows.flatten(1, 2)).reshape(windows.shape)
        x = x + (attended if windows is x else _whole(attended, x))
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        rows = x.flatten(1, 2)
        return (rows + self.mlp(rows)).reshape(x.shape)


def _windows(x: torch.Tensor, side: int) -> torch.Tensor:
    """(N, H, W, C) -> its windows, row by row, (windows, side, side, C); zeros where the last ones go beyond it.

    timm does this in six dimensions, and Qualcomm's NPU takes at most five. A row of windows is `side` rows of pixels,
    and `side` pixels of such a row with their channels move as one: four are enough.
    """
    x = functional.pad(x, (0, 0, 0, -x.shape[2] % side, 0, -x.shape[1] % side))
    count, height, width, channels = x.shape
    rows = x.reshape(count * height // side, side, width // side, side * channels)
    return rows.transpose(1, 2).reshape(-1, side, side, channels)


def _whole(windows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The map whose windows these are: the inverse of `_windows`, for a map of the shape of `like`."""
    count, height, width, _ = like.shape
    side, channels = windows.shape[2:]
    down, across = -(-height // side), -(-width // side)
    rows = windows.reshape(count * down, across, side, side * channels).transpose(1, 2)
    return rows.reshape(count, down * side, across * side, channels)[:, :height, :width]
