"""Distance of the pooled features from the nearest class (Lee et al., arXiv 1807.03888), also relative to all
(Ren et al., arXiv 2106.09022).

Classes share one covariance. The squared distance |W(h - m)|^2 of features h from a mean m is written as
|Wh|^2 - 2 (Wh)(Wm) + |Wm|^2, so that all classes take one matrix product.
"""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Known, Score, whitening


class Mahalanobis(Score):
    """Minus the squared distance from the nearest class.

    Args:
        middle: mean of all features, (D,).
        whiten: of the features within classes, (D, D).
        means: of the classes, (classes, D).
    """

    middle: torch.Tensor
    whiten: torch.Tensor
    centres: torch.Tensor
    lengths: torch.Tensor

    def __init__(self, middle: torch.Tensor, whiten: torch.Tensor, means: torch.Tensor) -> None:
        super().__init__()
        centres = (means - middle) @ whiten.T
        self.register_buffer("middle", middle.float())
        self.register_buffer("whiten", whiten.float())
        self.register_buffer("centres", centres.float())
        self.register_buffer("lengths", (centres**2).sum(1).float())

    @classmethod
    def fitted(cls, known: Known) -> Mahalanobis:
        """From the features of training photos; a class without one has no distance."""
        pooled = known.pooled.double()
        classes = known.labels.unique()
        means = torch.stack([pooled[known.labels == each].mean(0) for each in classes])
        within = pooled - means[torch.searchsorted(classes, known.labels)]
        return cls(pooled.mean(0), whitening(within), means)

    def _nearest(self, pooled: torch.Tensor) -> torch.Tensor:
        white = (pooled - self.middle) @ self.whiten.T
        return (white * white).sum(1) + (self.lengths - 2 * white @ self.centres.T).amin(1)

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N,)."""
        return -self._nearest(pooled)


class RelativeMahalanobis(Mahalanobis):
    """The squared distance from the mean of all, in their covariance, minus that from the nearest class."""

    whiten_all: torch.Tensor

    @classmethod
    def fitted(cls, known: Known) -> RelativeMahalanobis:
        """From the features of training photos."""
        score = super().fitted(known)
        assert isinstance(score, cls)
        pooled = known.pooled.double()
        score.register_buffer("whiten_all", whitening(pooled - pooled.mean(0)).float())
        return score

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N,)."""
        far = (pooled - self.middle) @ self.whiten_all.T
        return (far * far).sum(1) - self._nearest(pooled)
