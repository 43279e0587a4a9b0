"""What every score of familiarity is made from, and what it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Known:
    """What a student makes of photos of its own classes, those it was trained on.

    Attributes:
        logits: float (N, classes).
        pooled: what the classifier sees, float (N, D).
        labels: int64 (N,).
        weight: of the classifier, (classes, D).
        bias: of the classifier, (classes,).
    """

    logits: torch.Tensor
    pooled: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor


class Score(nn.Module):
    """Familiarity of photos, without a scale: larger for those that are like the known ones.

    `fitted` makes one; `forward(logits, pooled)` gives (N,) for (N, classes) and (N, D), in operators that every format
    has.
    """

    @classmethod
    def fitted(cls, known: Known) -> Score:
        """The score for a student, which `known` is of."""
        raise NotImplementedError


def mean_square(of: torch.Tensor) -> torch.Tensor:
    """Covariance of centred rows (N, D), with enough on its diagonal to be inverted: (D, D), float64."""
    covariance = of.T @ of / len(of)
    return covariance + 1e-6 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)


def whitening(of: torch.Tensor) -> torch.Tensor:
    """The matrix (D, D) whose product with a vector has the length that the covariance of `of` (N, D) gives it."""
    values, vectors = torch.linalg.eigh(mean_square(of))
    return (vectors / values.sqrt()).T
