"""A student's network with what every format puts around it."""

from __future__ import annotations

import torch
from torch import nn

from attar.export.runners.answers import FAMILIARITY, PROBABILITIES

__all__ = ["FAMILIARITY", "PROBABILITIES", "WORDS", "Classifier", "Outputs"]


WORDS = {FAMILIARITY: "How much the photo is like those that the model learned from, from 0 to 1"}
"""What a file says of its second output."""

Outputs = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class Classifier(nn.Module):
    """The network with softmax inside.

    Args:
        network: `attar.students.Student.answering()`: normalized images (N, 3, H, W) -> logits (N, classes), or those
            and the familiarity (N, 1).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> Outputs:
        """Normalized images -> probabilities, or (probabilities, familiarity)."""
        answers = self.network(images)
        if isinstance(answers, tuple):
            return torch.softmax(answers[0], dim=1), answers[1]
        return torch.softmax(answers, dim=1)
