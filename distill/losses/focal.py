"""Focal distillation: hold the student to the answers that the other model has right (Yan et al., arXiv 2011.09161).

Made against negative flips: photos that an earlier model has right, and its successor wrong. Every photo's distance to
the earlier model weighs `alpha`, and `beta` more where that model's most probable class is the label. It cannot have a
photo right whose class it does not know: the weight of such a photo is `alpha`.

The paper's distances are the KL divergence at a temperature of 100 and the squared distance of the logits. In float32
the divergence at that temperature is mostly rounding: there it comes to half the variance of the logits' differences,
which `logits` has without. So `temperature` is a mild one here.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import Loss, Outputs


class Focal(Loss):
    """`focal` with its weights (defaults: the paper's) and its distance; reads the logits."""

    alpha: float = Field(1.0, ge=0, description="weight of every photo")
    beta: float = Field(5.0, ge=0, description="what is added for photos that the teacher, or champion, has right")
    distance: Literal["kl", "logits"] = "kl"
    temperature: float = Field(3.0, gt=0, description="of kl")

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `focal`."""
        return focal(
            student["logits"], teacher["logits"], labels, self.alpha, self.beta, self.distance, self.temperature
        )


def focal(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor,
    alpha: float = 1.0,
    beta: float = 5.0,
    distance: str = "kl",
    temperature: float = 3.0,
) -> torch.Tensor:
    """Mean over the photos of (α + β · [the teacher's top-1 is the label]) · distance.

    `kl` is T² · KL(softmax(teacher / T) ‖ softmax(student / T)), as in `attar.distill.losses.kd`. `logits` is the mean
    over the classes of the squared difference.

    Args:
        student: logits (N, C).
        teacher: logits (N, C).
        labels: int64 (N,); `UNKNOWN`, or any number outside the classes, where the teacher cannot be right.
        alpha: weight of every photo.
        beta: what is added where the teacher is right.
        distance: `kl` or `logits`.
        temperature: of `kl`.
    """
    if distance == "kl":
        s, t = (functional.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
        apart = functional.kl_div(s, t, reduction="none", log_target=True).sum(1) * temperature**2
    else:
        apart = (student - teacher).square().mean(1)
    right = (teacher.argmax(1) == labels).to(apart.dtype)
    return ((alpha + beta * right) * apart).mean()
