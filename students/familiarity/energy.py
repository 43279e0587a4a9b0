"""Free energy: the logarithm of the sum of exponentials of the logits (Liu et al., arXiv 2010.03759)."""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Score


class Energy(Score):
    """Nothing is fitted."""

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N, 1)."""
        return energy(logits)


def energy(logits: torch.Tensor) -> torch.Tensor:
    """Minus the free energy of logits (N, classes): (N, 1). Formats lack a logarithm of sums, so its parts."""
    largest = logits.amax(1, keepdim=True)
    return largest + torch.log(torch.exp(logits - largest).sum(1, keepdim=True))
