"""Free energy: the logarithm of the sum of exponentials of the logits (Liu et al., arXiv 2010.03759)."""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Known, Score


class Energy(Score):
    """Nothing is fitted."""

    @classmethod
    def fitted(cls, known: Known) -> Energy:
        """Of any student."""
        return cls()

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N,)."""
        largest = logits.amax(1)
        return largest + torch.log(torch.exp(logits - largest[:, None]).sum(1))
