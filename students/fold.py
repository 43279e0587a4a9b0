"""Folding a pretrained normalization into the stem, so that the network takes the contract's range.

A backbone pretrained on `(x/255 - mean) / std` meets `(x - 128) / 128` here. Both are affine in the
pixel, so the convolutions that read the image absorb the difference exactly, except at the zero-padded border: there
zero used to mean the mean colour and now means pixel 128. Training heals that.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from attar.errors import InputError
from attar.preprocessing import MEAN, STD


def first_convolutions(backbone: Any) -> list[str]:
    """Names of the convolutions that read the image: several, where the stem has branches.

    Found by a pass without any numbers.

    Raises:
        InputError: something else reads it too.
    """
    twin = copy.deepcopy(backbone).to("meta").eval()
    config = getattr(twin, "pretrained_cfg", None) or {"input_size": (3, 64, 64)}
    image = torch.zeros(1, *config["input_size"], device="meta")
    images, readers = [image], []

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if list(module.children()) or not any(inputs and inputs[0] is each for each in images):
            return
        if isinstance(module, nn.Identity | nn.Dropout):
            images.append(output)  # which is the image still
        else:
            readers.append(name)

    for name, module in twin.named_modules():
        module.register_forward_hook(partial(note, name))
    with torch.no_grad():
        getattr(twin, "forward_features", twin)(image)
    modules = dict(backbone.named_modules())
    others = [name for name in readers if not isinstance(modules[name], nn.Conv2d)]
    if others or not readers:
        what = ", ".join(others) or "no convolution"
        raise InputError(f"its pretrained weights cannot be used: {what} reads the image. Train it from scratch.")
    return readers


@torch.no_grad()
def fold_normalization(backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Change the convolutions that read the image, in place, from (mean, std on [0, 1]) to the contract.

    With x = STD * u + MEAN the old input is a*u + b, a = STD / (255 std), b = (MEAN/255 - mean) / std.
    A kernel is scaled by a; the constant that b adds goes to its bias, or off the running mean of the batch norm after
    it: the next module, in the order they are defined in, which here is the order they run in.
    """
    modules = dict(backbone.named_modules())
    ordered = [module for module in modules.values() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    for name in first_convolutions(backbone):
        stem = modules[name]
        assert isinstance(stem, nn.Conv2d)
        after = ordered[ordered.index(stem) + 1 :][:1]
        _fold(stem, after[0] if after and isinstance(after[0], nn.BatchNorm2d) else None, mean, std)


def _fold(stem: nn.Conv2d, norm: nn.BatchNorm2d | None, mean: Sequence[float], std: Sequence[float]) -> None:
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
        assert norm is not None and isinstance(norm.running_mean, torch.Tensor)
        norm.running_mean.copy_(norm.running_mean.double() - constant)
