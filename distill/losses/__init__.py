"""Distillation losses by name. A new one is a file here and a line below.

Each is a function of (student logits, teacher logits, labels, temperature), shapes (N, C), (N, C), (N,):
the logits float32, the labels int64, the result a scalar, mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from attar.errors import InputError, did_you_mean
from distill.losses.kd import kd

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]

LOSSES: dict[str, Loss] = {"kd": kd}


def loss_named(name: str) -> Loss:
    """The loss of that name, or an `InputError` with the known ones."""
    if name not in LOSSES:
        raise InputError(f"loss {name!r}: unknown distillation loss ({', '.join(LOSSES)}).{did_you_mean(name, LOSSES)}")
    return LOSSES[name]
