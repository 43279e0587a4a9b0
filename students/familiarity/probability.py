"""The probability of the most probable class (Hendrycks and Gimpel, arXiv 1610.02136)."""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Known, Score


class MaxProbability(Score):
    """Nothing is fitted."""

    @classmethod
    def fitted(cls, known: Known) -> MaxProbability:
        """Of any student."""
        return cls()

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N,)."""
        return torch.softmax(logits, 1).amax(1)
