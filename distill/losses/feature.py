"""Feature matching: the student's feature map, projected, against the teacher's patch tokens.

The projector is one 1x1 convolution, dropped after training. FitNets began this with a regressor (Romero et al., arXiv
1412.6550, section 2.2); that a linear one does as well as deep ones is shown by Miles and Mikolajczyk (arXiv
2303.11098). The teacher's features are whitened (Wei et al., arXiv 2205.14141). Cosine distance is what those who
distil vision foundation models rely on most (AM-RADIO, arXiv 2312.06709, section 3, at 0.9 beside 0.1 of smooth L1),
and is the default; smooth L1 on whitened features, with Wei et al.'s beta of 2, is the other choice.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import Loss, Outputs, Shapes, coarser, resampled


class Feature(Loss):
    """`feature` after a projector of its own; reads the feature maps of both."""

    teacher: ClassVar = ("feature_map",)
    student: ClassVar = ("feature_map",)
    metric: Literal["cosine", "smooth_l1"] = "cosine"
    beta: float = Field(2.0, gt=0, description="smooth_l1: where the square ends and the straight line begins")

    def projector(self, student: Shapes, teacher: Shapes) -> nn.Module:
        """A 1x1 convolution from the student's channels to the teacher's."""
        return nn.Conv2d(student[self.student[0]][0], teacher[self.teacher[0]][0], 1)

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `feature`."""
        return feature(projector(student[self.student[0]]), teacher[self.teacher[0]], self.metric, self.beta)


def feature(student: torch.Tensor, teacher: torch.Tensor, metric: str = "cosine", beta: float = 2.0) -> torch.Tensor:
    """Distance of two maps with the same channels, (N, D, h, w) and (N, D, H, W), where both meet (`coarser`).

    `cosine`: 1 - cosine over the channels, mean over photos and positions, in [0, 2]. `smooth_l1`: mean over the
    channels too.
    """
    grid = coarser(student, teacher)
    student, teacher = resampled(student, grid), resampled(teacher, grid)
    if metric == "cosine":
        return 1 - functional.cosine_similarity(student, teacher, dim=1).mean()
    return functional.smooth_l1_loss(student, teacher, beta=beta)
