"""Contrastive representation distillation, within the batch (after Tian et al., arXiv 1910.10699, section 3).

As in the paper the student's features of a photo must be told from those of other photos by the teacher's, and the
other way round, after linear projections to 128 numbers of unit length, and photos of the photo's own class are no
counterexamples. Two things differ: the paper draws 16,384 counterexamples from a memory bank of all photos' features
and estimates the ratio (NCE) with one binary decision each; here they are the other photos of the batch, and the
decision is which one (InfoNCE, van den Oord et al., arXiv 1807.03748). No state as large as the data set has to be
kept or resumed; a larger batch serves it better.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import UNKNOWN, Loss, Outputs, Shapes


class CRD(Loss):
    """`crd` of pooled features after projections of its own; defaults: the paper's width and temperature."""

    teacher: ClassVar = ("pooled",)
    student: ClassVar = ("pooled",)
    width: int = Field(128, ge=1, description="of the projections")
    temperature: float = Field(0.07, gt=0)

    @property
    def photos(self) -> int:
        """One photo has no other to be told from."""
        return 2

    def projector(self, student: Shapes, teacher: Shapes) -> nn.Module:
        """Linear projections of both, teacher's too, as in the paper."""
        widths = {"student": student["pooled"][0], "teacher": teacher["pooled"][0]}
        return nn.ModuleDict({who: nn.Linear(width, self.width) for who, width in widths.items()})

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `crd`."""
        assert isinstance(projector, nn.ModuleDict)
        s, t = projector["student"](student["pooled"]), projector["teacher"](teacher["pooled"])
        return crd(s, t, labels, self.temperature)


def crd(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """Features (N, W), (N, W), labels int64 (N,) -> mean of both directions' cross-entropies.

    Photos whose labels are `UNKNOWN` are each other's counterexamples.
    """
    likeness = functional.normalize(student) @ functional.normalize(teacher).T / temperature
    same = (labels[:, None] == labels) & (labels != UNKNOWN)
    same.fill_diagonal_(False)
    likeness = likeness.masked_fill(same, -torch.inf)
    own = torch.arange(len(labels), device=labels.device)
    return (functional.cross_entropy(likeness, own) + functional.cross_entropy(likeness.T, own)) / 2
