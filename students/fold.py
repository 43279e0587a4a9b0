"""Folding a pretrained normalization into the stem, so that the network takes the contract's range.

A backbone pretrained on `(x/255 - mean) / std` meets `(x - 128) / 128` here. Both are affine in the
pixel, so the first convolution absorbs the difference exactly, except at the zero-padded border: there
zero used to mean the mean colour and now means pixel 128. Training heals that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from attar.preprocessing import MEAN, STD


def first_convolution(backbone: nn.Module) -> tuple[nn.Conv2d, nn.Module | None]:
    """A network's first convolution, and the batch norm after it if one follows.

    Modules are taken in the order they are defined in, which in the families here is the order they run in.
    """
    modules = [module for module in backbone.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    place = next(place for place, module in enumerate(modules) if isinstance(module, nn.Conv2d))
    convolution, after = modules[place], modules[place + 1 : place + 2]
    assert isinstance(convolution, nn.Conv2d)
    return convolution, after[0] if after and isinstance(after[0], nn.BatchNorm2d) else None


@torch.no_grad()
def fold_normalization(backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Change the first convolution and the batch norm after it in place, from (mean, std on [0, 1]) to the contract.

    With x = STD * u + MEAN the old input is a*u + b, a = STD / (255 std), b = (MEAN/255 - mean) / std.
    The kernel is scaled by a; the constant that b adds is taken off the norm's running mean.
    """
    stem, bn = first_convolution(backbone)
    old_mean = torch.tensor(mean, dtype=torch.float64)
    old_std = torch.tensor(std, dtype=torch.float64)
    scale = STD / (255.0 * old_std)
    offset = (MEAN / 255.0 - old_mean) / old_std
    weight = stem.weight.double()
    constant = (weight.sum((2, 3)) * offset).sum(1)
    stem.weight.copy_(weight * scale.view(1, -1, 1, 1))
    if stem.bias is not None:
        stem.bias.copy_(stem.bias.double() + constant)
    else:
        assert bn is not None and isinstance(bn.running_mean, torch.Tensor)
        bn.running_mean.copy_(bn.running_mean.double() - constant)
