"""What every score of familiarity is made from, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Known:
    """What a student makes of photos of its own classes, those it was trained on.

    Attributes:
        largest: of their logits, float (N,).
        pooled: what the classifier sees, float (N, D).
        labels: int64 (N,).
        weight: of the classifier, (classes, D).
        bias: of the classifier, (classes,).
    """

    largest: torch.Tensor
    pooled: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor


class Score(nn.Module):
    """Familiarity of photos, without a scale: larger for those that are like the known ones.

    `fitted` makes one; `forward(logits, pooled)` gives (N, 1) for (N, classes) and (N, D), in operators that every
    format has. All that is fitted stands in its buffers, float32.
    """

    @classmethod
    def fitted(cls, known: Known) -> Score:
        """The score for a student, which `known` is of. Here: of any student, as nothing is fitted."""
        return cls()

    @classmethod
    def compact(cls, known: Known) -> Score:
        """The same, small enough for a file."""
        return cls.fitted(known)

    @classmethod
    def rebuilt(cls, buffers: Mapping[str, torch.Tensor]) -> Score:
        """A score that was fitted before, from its buffers."""
        score = cls()
        score.keep(**buffers)
        return score

    def keep(self, **fitted: torch.Tensor) -> None:
        """Put what was fitted into buffers."""
        for name, value in fitted.items():
            self.register_buffer(name, value.float())


def mean_square(of: torch.Tensor) -> torch.Tensor:
    """Covariance of centred rows (N, D), with enough on its diagonal to be inverted: (D, D), float64."""
    covariance = of.T @ of / len(of)
    return covariance + 1e-6 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
