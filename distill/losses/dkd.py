"""Decoupled knowledge distillation (Zhao et al., arXiv 2203.08679, section 3)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import UNKNOWN, Loss, Outputs


class DKD(Loss):
    """`dkd` with its weights and temperature (defaults: the paper's for most CIFAR-100 pairs); reads the logits."""

    alpha: float = Field(1.0, ge=0, description="weight of the target class against all others")
    beta: float = Field(8.0, ge=0, description="weight of the other classes among themselves")
    temperature: float = Field(4.0, gt=0)

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `dkd`; without a label the target is the class that the teacher finds most likely."""
        target = torch.where(labels == UNKNOWN, teacher["logits"].argmax(1), labels)
        return dkd(student["logits"], teacher["logits"], target, self.alpha, self.beta, self.temperature)


def dkd(
    student: torch.Tensor,
    teacher: torch.Tensor,
    target: torch.Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> torch.Tensor:
    """T² · (α · KL over {target, not target} + β · KL over the other classes), mean over the batch (equation 7).

    Soft targets weigh the second term by 1 - p(target) of the teacher: the surer it is, the less the student hears
    of how the other classes relate. Here the weight is β. Of two classes there is only one other, and the second term
    is zero.

    Args:
        student: logits (N, C).
        teacher: logits (N, C).
        target: int64 (N,).
        alpha: weight of the first term.
        beta: weight of the second.
        temperature: both logits are divided by it.
    """
    (student_two, student_rest), (teacher_two, teacher_rest) = (
        _decoupled(logits / temperature, target) for logits in (student, teacher)
    )
    divergence = [
        functional.kl_div(s, t, reduction="batchmean", log_target=True)
        for s, t in ((student_two, teacher_two), (student_rest, teacher_rest))
    ]
    return (alpha * divergence[0] + beta * divergence[1]) * temperature**2


def _decoupled(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of (target, not target), (N, 2), and of the other classes given that it is one, (N, C - 1)."""
    of_all = functional.log_softmax(logits, dim=1)
    is_target = functional.one_hot(target, logits.shape[1]).bool()
    others = of_all[~is_target].view(len(logits), -1)
    not_target = others.logsumexp(1, keepdim=True)
    return torch.cat([of_all[is_target].view(-1, 1), not_target], dim=1), others - not_target
