"""The largest logit of centred logits, divided by their p-norm (Cattelan and Silva, arXiv 2305.15508, section 4.1)."""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Score

P = 4
"""Of the norm."""
_LEAST = 1e-12


class MaxLogit(Score):
    """Nothing is fitted."""

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N, 1)."""
        centred = logits - logits.mean(1, keepdim=True)
        squares = centred * centred
        norm = ((squares * squares).sum(1, keepdim=True) + _LEAST).sqrt().sqrt()
        return centred.amax(1, keepdim=True) / norm
