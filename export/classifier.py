"""A student's network with what every format puts around it."""

from __future__ import annotations

import torch
from torch import nn


class Classifier(nn.Module):
    """The network with softmax inside: normalized images (N, 3, H, W) -> probabilities (N, classes)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized images -> probabilities."""
        return torch.softmax(self.network(images), dim=1)
