"""Knowledge distillation by soft targets (Hinton, Vinyals and Dean, arXiv 1503.02531, section 2)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import Loss, Outputs


class KD(Loss):
    """`kd` with a temperature; reads the logits of both."""

    temperature: float = Field(3.0, gt=0)

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `kd`."""
        return kd(student["logits"], teacher["logits"], self.temperature)


def kd(student: torch.Tensor, teacher: torch.Tensor, temperature: float = 3.0) -> torch.Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), logits (N, C) -> scalar, mean over the batch.

    The factor T² keeps the gradient's size independent of the temperature, so its weight against the
    cross-entropy means the same at every T.
    """
    student = functional.log_softmax(student / temperature, dim=1)
    teacher = functional.log_softmax(teacher / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
