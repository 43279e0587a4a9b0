"""The probability of the most probable class (Hendrycks and Gimpel, arXiv 1610.02136)."""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Score


class MaxProbability(Score):
    """Nothing is fitted."""

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N, 1)."""
        return torch.softmax(logits, 1).amax(1, keepdim=True)
