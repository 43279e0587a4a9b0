"""Attention transfer: where the teacher looks (Zagoruyko and Komodakis, arXiv 1612.03928, section 3.1).

Activation-based attention of the last feature map. Of a ViT these are the patch tokens before the final norm, which
would make all equally long. Large ViTs without register tokens put a few tokens of great length on empty background
(Darcet et al., arXiv 2309.16588); their attention misleads, and `feature` is the better choice for them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import Loss, Outputs, attention_map, coarser, resampled


class Attention(Loss):
    """`attention` of the student's map; of the teacher it reads the small attention map alone."""

    teacher: ClassVar = ("attention",)
    student: ClassVar = ("feature_map",)

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `attention`."""
        return attention(attention_map(student["feature_map"]), teacher["attention"])


def attention(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Squared distance of two attention maps (N, h, w), (N, H, W) of unit length, mean over the batch, in [0, 2].

    The maps meet on the coarser grid and are brought to unit length there. The paper's code averages over the
    positions and weighs by β/2 with β = 1000; summed over them, as here and in its equation 2, that is a weight of 10
    at 7 x 7.
    """
    grid = coarser(student, teacher)
    s, t = (functional.normalize(resampled(m[:, None], grid).flatten(1)) for m in (student, teacher))
    return (s - t).square().sum(1).mean()
