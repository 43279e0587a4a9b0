"""The model of place and season: degrees and a day of the year -> how likely each label is met there and then.

Place and day are put on circles inside the model (sines and cosines), so that longitudes of -180 and 180 are one place,
and 31 December is next to 1 January; whoever runs it gives plain numbers. Then residual layers and a sigmoid for each
label, as in Mac Aodha et al. (arXiv 1906.05272) and SINR (Cole et al., arXiv 2306.02564, section 3).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

INPUTS = ("latitude", "longitude", "day")
WIDTH, BLOCKS = 128, 4
YEAR = 365.25
"""Days."""


class Residual(nn.Module):
    """Two linear layers beside the identity."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (N, width) -> the same."""
        return x + torch.relu(self.second(self.dropout(torch.relu(self.first(x)))))


class GeoPrior(nn.Module):
    """Places and days -> how likely each label is met there and then.

    Args:
        labels: how many.
        width: of the hidden layers.
        blocks: residual ones.
        dropout: inside them, in training.
    """

    def __init__(self, labels: int, width: int = WIDTH, blocks: int = BLOCKS, dropout: float = 0.1) -> None:
        super().__init__()
        self.architecture: dict[str, Any] = {"labels": labels, "width": width, "blocks": blocks}
        self.stem = nn.Linear(7, width)
        self.blocks = nn.Sequential(*(Residual(width, dropout) for _ in range(blocks)))
        self.head = nn.Linear(width, labels)

    def forward(self, where: torch.Tensor) -> torch.Tensor:
        """Latitude, longitude, degrees, and day of year (0: not known), float (N, 3) -> [0, 1], float (N, labels)."""
        return torch.sigmoid(self.logits(where))

    def logits(self, where: torch.Tensor) -> torch.Tensor:
        """The same before the sigmoid."""
        return self.head(self.blocks(torch.relu(self.stem(encoded(where)))))


def encoded(where: torch.Tensor) -> torch.Tensor:
    """Latitude, longitude, day, float (N, 3) -> a point on the globe, one on the year, and its presence, float (N, 7).

    A day of 0 is not known: its point is the middle of the circle.
    """
    latitude, longitude = where[:, 0:1] * (math.pi / 180), where[:, 1:2] * (math.pi / 180)
    angle, dated = where[:, 2:3] * (2 * math.pi / YEAR), (where[:, 2:3] > 0.5).to(where.dtype)
    ring = torch.cos(latitude)
    return torch.cat(
        [
            ring * torch.cos(longitude),
            ring * torch.sin(longitude),
            torch.sin(latitude),
            torch.sin(2 * latitude),
            dated * torch.cos(angle),
            dated * torch.sin(angle),
            dated,
        ],
        1,
    )
