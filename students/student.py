"""The student: a timm backbone and a head, with the contract's normalization."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from attar.preprocessing import MEAN, STD


class Student(nn.Module):
    """Takes uint8 images, gives logits.

    Attributes:
        network: the bare network, normalized float images (N, 3, H, W) in [-1, 1) -> logits (N, classes).
        architecture: plain data that `students.load` rebuilds the module from.
    """

    def __init__(self, network: nn.Module, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (or float) images (N, 3, H, W) in [0, 255] -> float logits (N, classes)."""
        return self.network((images.float() - MEAN) / STD)


class WithHead(nn.Module):
    """A timm backbone's last feature map, then a head of ours."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized images -> logits."""
        return self.head(self.backbone.forward_features(images))  # type: ignore[operator]
