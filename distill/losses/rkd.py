"""Relational distillation: how photos lie to each other in feature space (Park et al., arXiv 1904.05068, section 3)."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import Loss, Outputs


class RKD(Loss):
    """`rkd` of pooled features, which may differ in width; defaults: the paper's weights for classification."""

    teacher: ClassVar = ("pooled",)
    student: ClassVar = ("pooled",)
    distance: float = Field(25.0, ge=0, description="weight of the distances of pairs")
    angle: float = Field(50.0, ge=0, description="weight of the angles of triplets")

    @property
    def photos(self) -> int:
        """Of two photos, distances over their mean are always 1, and angles always 0."""
        return 3

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `rkd`."""
        return rkd(student["pooled"], teacher["pooled"], self.distance, self.angle)


def rkd(student: torch.Tensor, teacher: torch.Tensor, distance: float = 25.0, angle: float = 50.0) -> torch.Tensor:
    """Huber loss of pairwise distances over their mean (equations 7, 8) and of triplets' cosines (12, 13).

    Features (N, D), (N, E) -> scalar. The angles take time and memory in N² · D and N³: at a batch of 256 about half a
    gigabyte.
    """
    loss = student.new_zeros(())
    if distance:
        loss = loss + distance * functional.smooth_l1_loss(_distances(student), _distances(teacher))
    if angle:
        loss = loss + angle * functional.smooth_l1_loss(_angles(student), _angles(teacher))
    return loss


def _distances(x: torch.Tensor) -> torch.Tensor:
    """(N, D) -> (N, N), divided by the mean over pairs of different photos."""
    # Not by matrix products: they cancel where two photos are close.
    apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    mean = apart.sum() / (len(x) * (len(x) - 1))
    return apart / mean.clamp(min=1e-12)


def _angles(x: torch.Tensor) -> torch.Tensor:
    """(N, D) -> (N, N, N): at [j, i, k] the cosine of the angle at photo j between photos i and k."""
    towards = functional.normalize(x[None] - x[:, None], dim=2)
    return towards @ towards.transpose(1, 2)
