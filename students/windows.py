"""timm's windows, patches and positions as converters and phones take them: at most four dimensions.

Each module has the weights of the one that it is made from, and computes the same. timm cuts a map into windows in six
dimensions. Qualcomm's NPU takes at most five, LiteRT's GPU accelerator four.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from timm.models.edgenext import PositionalEncodingFourier
from timm.models.efficientvit_msra import LocalWindowAttention
from timm.models.mobilevit import MobileVitV2Block
from timm.models.tiny_vit import TinyVitBlock
from torch import nn
from torch.nn import functional


class WindowAttention(nn.Module):
    """timm's `LocalWindowAttention` (EfficientViT, arXiv 2305.07027), in four dimensions."""

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
    """timm's `TinyVitBlock` (arXiv 2207.10666, section 3.3), in four dimensions."""

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


class PatchBlock(nn.Module):
    """timm's `MobileVitV2Block` (arXiv 2206.02680, section 3.2), in four dimensions."""

    def __init__(self, timms: MobileVitV2Block) -> None:
        super().__init__()
        self.patch_size: tuple[int, int] = timms.patch_size
        self.conv_kxk, self.conv_1x1, self.conv_proj = timms.conv_kxk, timms.conv_1x1, timms.conv_proj
        self.transformer, self.norm = timms.transformer, timms.norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', H', W'), H and W rounded up to multiples of a patch."""
        tall, wide = self.patch_size
        height, width = (math.ceil(side / patch) * patch for side, patch in zip(x.shape[2:], self.patch_size))
        if x.shape[2:] != (height, width):
            x = functional.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)
        x = self.conv_1x1(self.conv_kxk(x))
        count, channels = x.shape[:2]
        # H becomes rows of a patch x patches below each other, and then W the same.
        x = x.reshape(-1, height // tall, tall, width).transpose(1, 2)
        x = x.reshape(-1, height // tall, width // wide, wide).permute(0, 3, 1, 2)
        x = self.norm(self.transformer(x.reshape(count, channels, tall * wide, -1)))
        x = x.reshape(-1, wide, height // tall, width // wide).permute(0, 2, 3, 1)
        x = x.reshape(-1, tall, height // tall, width).transpose(1, 2)
        projected: torch.Tensor = self.conv_proj(x.reshape(count, channels, height, width))
        return projected


class FourierPositions(nn.Module):
    """timm's `PositionalEncodingFourier` (EdgeNeXt, arXiv 2206.10589): sines and cosines of a pixel's row and column.

    They depend on nothing but the map's size, so here they are constants. timm's are computed anew for each image.
    """

    def __init__(self, timms: PositionalEncodingFourier) -> None:
        super().__init__()
        self.token_projection = timms.token_projection
        place = np.arange(timms.hidden_dim)
        self._lengths = 2 * math.pi / timms.temperature ** (place // 2 * 2 / timms.hidden_dim)

    def forward(self, shape: tuple[int, int, int]) -> torch.Tensor:
        """N, H and W of a map -> (N, C, H, W)."""
        count, height, width = shape
        rows, columns = self._waves(height)[:, None], self._waves(width)[None]
        both = np.broadcast_arrays(rows, columns)
        table = torch.from_numpy(np.concatenate(both, 2).transpose(2, 0, 1)[None]).to(self.token_projection.weight)
        projected: torch.Tensor = self.token_projection(table)
        return projected.expand(count, -1, -1, -1)

    def _waves(self, places: int) -> np.ndarray:
        """float64 (places, D): a sine where the second index is even, a cosine where it is odd."""
        angles = np.arange(1, places + 1)[:, None] / (places + 1e-6) * self._lengths
        return np.where(np.arange(len(self._lengths)) % 2, np.cos(angles), np.sin(angles))


def _windows(x: torch.Tensor, side: int) -> torch.Tensor:
    """(N, H, W, C) -> its windows, row by row, (windows, side, side, C); zeros where the last ones go beyond it.

    A row of windows is `side` rows of pixels, and `side` pixels of such a row move as one with their channels: four
    dimensions are enough.
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
