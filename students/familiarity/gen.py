"""Generalized entropy of the probabilities (Liu et al., GEN, CVPR 2023, equation 5), of all classes."""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Score

GAMMA = 0.1
"""The paper's: it magnifies small differences from certainty."""
_LEAST = 1e-7


class Gen(Score):
    """Nothing is fitted."""

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N, 1)."""
        shares = torch.softmax(logits, 1).clamp(_LEAST, 1 - _LEAST)
        return -torch.exp(GAMMA * (torch.log(shares) + torch.log(1 - shares))).sum(1, keepdim=True)
