"""Logit-difference inhibition: no logit of a likely class may move far (ELODI, Zhao et al., arXiv 2205.06265).

The paper finds that negative flips come with large moves of the logits, far from the boundary of two classes, and
penalizes those of the classes that the earlier model finds most likely. Here the mean is taken over these classes, not
the sum: its size does not change with their number. The paper's reference is an ensemble of earlier models; here it is
the one teacher, or champion.

Logits are compared as they are, so a constant that is added to all of them counts, unlike in `kd`. Above 1,000 classes
the teacher's cache gives logarithms of probabilities.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from attar.distill.losses.base import Loss, Outputs


class LDI(Loss):
    """`ldi` with its classes and margin; reads the logits."""

    top: int = Field(10, ge=1, description="classes that count: the likeliest for the teacher, or champion")
    margin: float = Field(0.0, ge=0, description="difference of two logits that costs nothing")

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `ldi`."""
        return ldi(student["logits"], teacher["logits"], self.top, self.margin)


def ldi(student: torch.Tensor, teacher: torch.Tensor, top: int = 10, margin: float = 0.0) -> torch.Tensor:
    """Mean over photos, and over the teacher's `top` likeliest classes, of max(0, |student - teacher| - margin)².

    Logits (N, C) -> scalar. With fewer classes than `top` all of them count.
    """
    likeliest = teacher.topk(min(top, teacher.shape[1]), dim=1).indices
    apart = (student - teacher).gather(1, likeliest).abs()
    return (apart - margin).clamp(min=0).square().mean()
