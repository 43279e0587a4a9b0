"""A loss. Its fields are its options in a recipe; `teacher` and `student` name what it reads, by default logits."""

import torch
from torch import nn

from attar.distill.losses.base import Loss, Outputs


class LogitDistance(Loss):
    """The mean squared difference of the logits, divided by `scale`."""

    scale: float = 1.0

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """Logits (N, C) of both -> a scalar."""
        return nn.functional.mse_loss(student["logits"], teacher["logits"]) / self.scale
