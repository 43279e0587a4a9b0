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
    """Minus the free energy of logits (N, classes): (N, 1).

    The logarithm of the sum is the largest logit, minus the logarithm of the largest probability. Summed here, it would
    share its parts with the answer's softmax: LiteRT's converter then takes that apart, and integer files compute its
    division in integers.
    """
    largest = torch.softmax(logits, 1).amax(1, keepdim=True)
    return logits.amax(1, keepdim=True) - torch.log(largest)
