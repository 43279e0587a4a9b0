"""DIST: match how predictions are related, not their exact values (Huang et al., arXiv 2205.10536, section 3)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import Loss, Outputs


class DIST(Loss):
    """`dist` with its weights and temperature (defaults: the paper's on ImageNet); reads the logits."""

    beta: float = Field(2.0, ge=0, description="weight of the relation of the classes, photo by photo")
    gamma: float = Field(2.0, ge=0, description="weight of the relation of the photos, class by class")
    temperature: float = Field(1.0, gt=0)

    @property
    def photos(self) -> int:
        """The correlation over two photos is always 1 or -1; over classes one photo is enough."""
        return 3 if self.gamma else 1

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `dist`."""
        return dist(student["logits"], teacher["logits"], self.beta, self.gamma, self.temperature)


def dist(
    student: torch.Tensor, teacher: torch.Tensor, beta: float = 2.0, gamma: float = 2.0, temperature: float = 1.0
) -> torch.Tensor:
    """T² · (β · (1 - correlation over classes) + γ · (1 - correlation over photos)) of probabilities.

    Pearson's correlation does not see scale and offset, so a student too small to be as sure as its teacher can still
    agree with it fully. Logits (N, C) -> scalar, the mean over photos and over classes. The second relation is taken
    over the batch, and large batches serve it better. Of two classes the first correlation is always 1 or -1, and only
    the second teaches. T² as in `kd`: the gradient's size does not change with T.
    """
    s, t = (functional.softmax(logits / temperature, dim=1) for logits in (student, teacher))
    inter, intra = (1 - _correlation(a, b).mean() for a, b in ((s, t), (s.T, t.T)))
    return (beta * inter + gamma * intra) * temperature**2


def _correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pearson's, row by row: (N, M), (N, M) -> (N,)."""
    return functional.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1)
