"""Heads that pool before they mix channels: a layer of width W costs one position's work, not one for each position.

MobileNetV3's own head does so (arXiv 1905.02244, section 5.1).
"""

from __future__ import annotations

import torch
from torch import nn

from attar.students.dwsconv import depthwise


class PooledHead(nn.Module):
    """depthwise k x k + BN + ReLU -> average pool -> linear to `width` + ReLU -> dropout -> linear.

    Args and shapes of `attar.students.dwsconv.DWSConvHead`.
    """

    def __init__(
        self, in_features: int, num_classes: int, width: int = 512, kernel_size: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.depthwise = depthwise(in_features, kernel_size)
        self.bn1 = nn.BatchNorm2d(in_features)
        self.reduce = self._reduced(in_features, width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)
        nn.init.kaiming_normal_(self.depthwise.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def _reduced(self, in_features: int, width: int) -> nn.Module:
        linear = nn.Linear(in_features, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        return nn.Sequential(linear, nn.ReLU())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map -> logits."""
        return self.classifier(self.pooled(features))

    def pooled(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map -> what the classifier sees, (N, width)."""
        features = torch.relu(self.bn1(self.depthwise(features)))
        return self.dropout(self.reduce(features.mean((2, 3))))


class LowRankHead(PooledHead):
    """As `PooledHead` without the second ReLU: the classifier is a matrix of rank `width`, kept as two factors."""

    def _reduced(self, in_features: int, width: int) -> nn.Module:
        linear = nn.Linear(in_features, width, bias=False)  # the classifier has one
        nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
        return linear
