"""The largest logit of centred logits, divided by their p-norm (Cattelan and Silva, arXiv 2305.15508, section 4.1)."""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Known, Score

P = 4
"""Of the norm."""
_LEAST = 1e-12


class MaxLogit(Score):
    """Nothing is fitted."""

    @classmethod
    def fitted(cls, known: Known) -> MaxLogit:
        """Of any student."""
        return cls()

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N,)."""
        centred = logits - logits.mean(1, keepdim=True)
        squares = centred * centred
        return centred.amax(1) / ((squares * squares).sum(1) + _LEAST).sqrt().sqrt()
