"""timm's attention as converters and phones take it: at most four dimensions, and nothing that they compute wrongly.

Each module has the weights of the one that it is made from, and computes the same.
"""

from __future__ import annotations

import torch
from timm.layers import Attention, MultiQueryAttention2d
from timm.models import fastvit
from timm.models.edgenext import CrossCovarianceAttn
from timm.models.mobilevit import LinearSelfAttention
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
        key = self.key(x)
        if x.shape[-1] > 1:  # as in `SelfAttention`
            key = key * self.score(x).softmax(-1)
        context = key.sum(-1, keepdim=True)
        mixed: torch.Tensor = self.output(self.value(x).relu() * context)
        return mixed


class SelfAttention(nn.Module):
    """timm's `Attention` (arXiv 2010.11929, appendix A).

    timm computes queries, keys and values in one product and takes them apart in five dimensions, which LiteRT's GPU
    accelerator leaves to the processor. Here each has its own.
    """

    def __init__(self, timms: Attention) -> None:
        super().__init__()
        self.num_heads = timms.num_heads
        self.query, self.key, self.value = _thirds(timms.qkv)
        self.query_norm, self.key_norm, self.norm = timms.q_norm, timms.k_norm, timms.norm
        self.gate, self.output = timms.gate, timms.proj

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None, is_causal: bool = False) -> torch.Tensor:
        """(N, tokens, C) -> (N, tokens, C')."""
        mixed = _heads(self.value(x), self.num_heads)
        # Of one token there is no softmax: LiteRT's converter would divide a number by itself, which its GPU refuses.
        if x.shape[1] > 1:
            query, key = (
                self.query_norm(_heads(self.query(x), self.num_heads)),
                self.key_norm(_heads(self.key(x), self.num_heads)),
            )
            mixed = functional.scaled_dot_product_attention(query, key, mixed, attn_mask, is_causal=is_causal)
        # In two dimensions: of three, QNN takes the wrong rows in half precision where images, heads and tokens are
        # equally many (MobileViT at 128 pixels: four of each).
        rows = self.norm(mixed.transpose(1, 2).reshape(-1, self.output.in_features))
        if self.gate is not None:
            rows = rows * self.gate(x).sigmoid().flatten(0, 1)
        output: torch.Tensor = self.output(rows)
        return output.unflatten(0, (-1, x.shape[1]))


class MapAttention(nn.Module):
    """FastViT's `Attention` (arXiv 2303.14189): `SelfAttention` between the pixels of a map."""

    def __init__(self, timms: fastvit.Attention) -> None:
        super().__init__()
        self.num_heads = timms.num_heads
        self.query, self.key, self.value = _thirds(timms.qkv)
        self.output = timms.proj

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> the same."""
        rows = x.flatten(2).transpose(1, 2)
        query, key, value = (_heads(part(rows), self.num_heads) for part in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        output: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output.transpose(1, 2).reshape(x.shape)


class ChannelAttention(nn.Module):
    """timm's `CrossCovarianceAttn` (EdgeNeXt, arXiv 2206.10589, section 3.2), with queries, keys and values apart."""

    def __init__(self, timms: CrossCovarianceAttn) -> None:
        super().__init__()
        self.num_heads, self.temperature = timms.num_heads, timms.temperature
        self.query, self.key, self.value = _thirds(timms.qkv)
        self.output = timms.proj

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, tokens, C) -> the same."""
        query, key, value = (
            _heads(part(x), self.num_heads).transpose(2, 3) for part in (self.query, self.key, self.value)
        )
        likeness = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(-2, -1)
        mixed = (likeness * self.temperature).softmax(-1) @ value
        output: torch.Tensor = self.output(mixed.permute(0, 3, 1, 2).flatten(2))
        return output


def _heads(rows: torch.Tensor, count: int) -> torch.Tensor:
    """(N, tokens, C) -> (N, heads, tokens, C / heads)."""
    return rows.unflatten(-1, (count, -1)).transpose(1, 2)


@torch.no_grad()
def _thirds(linear: nn.Linear) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """A layer's outputs in three equal parts, each a layer of its own."""
    width = linear.out_features // 3
    parts = []
    for start in (0, width, 2 * width):
        part = nn.Linear(linear.in_features, width, bias=linear.bias is not None)
        part.weight = nn.Parameter(linear.weight[start : start + width].clone())
        if linear.bias is not None:
            part.bias = nn.Parameter(linear.bias[start : start + width].clone())
        parts.append(part)
    return parts[0], parts[1], parts[2]


@torch.no_grad()
def _channels(conv: nn.Conv2d, start: int, end: int) -> nn.Conv2d:
    """Some output channels of a pointwise convolution as one of its own."""
    part = nn.Conv2d(conv.in_channels, end - start, 1, bias=conv.bias is not None)
    part.weight = nn.Parameter(conv.weight[start:end].clone())
    if conv.bias is not None:
        part.bias = nn.Parameter(conv.bias[start:end].clone())
    return part
