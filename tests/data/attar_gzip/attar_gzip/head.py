"""A head: average pool and one linear layer."""

import torch
from torch import nn


class LinearHead(nn.Module):
    """Feature map (N, in_features, H, W) -> logits (N, num_classes). `width` is not used."""

    def __init__(self, in_features: int, num_classes: int, width: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_features, num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map -> logits."""
        return self.classifier(self.pooled(features))

    def pooled(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map -> what the classifier sees, (N, in_features)."""
        return self.dropout(features.mean((2, 3)))
