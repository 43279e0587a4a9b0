"""Distance of the pooled features from the nearest class (Lee et al., arXiv 1807.03888), also relative to all
(Ren et al., arXiv 2106.09022).

Classes share one covariance. A file has no place for the inverse covariance of a thousand features: `compact` takes the
subspace in which the features of all photos vary most, computes the distance there, and gives all other directions one
variance (probabilistic PCA; Tipping and Bishop, J. R. Stat. Soc. B 61, 1999). Nothing is the small difference of large
numbers, so that half precision holds it.
"""

from __future__ import annotations

import torch
from torch.nn.functional import linear

from attar.students.familiarity.score import Known, Score, mean_square

RANK = 64
"""Dimensions of the subspace that `compact` takes."""


class Mahalanobis(Score):
    """Minus the squared distance from the nearest class, for each feature.

    Buffers, with D features, R dimensions of the subspace and K classes: `middle` (D,), the mean of all features;
    `subspace` (R, D), its directions; `white` (R, R), after which the features of a class vary by one in each
    direction; `centres` (K, R), the classes' means behind it; and `rest` (), the scale of what is left, unless R = D.
    """

    middle: torch.Tensor
    subspace: torch.Tensor
    white: torch.Tensor
    centres: torch.Tensor
    rest: torch.Tensor

    @classmethod
    def fitted(cls, known: Known, rank: int | None = None) -> Mahalanobis:
        """From the features of training photos; a class without one has no distance. `rank`: R; None: all of D."""
        score, pooled = cls(), known.pooled.double()
        features = pooled.shape[1]
        rank = min(rank or features, features)
        classes = known.labels.unique()
        means = torch.stack([pooled[known.labels == each].mean(0) for each in classes])
        middle = pooled.mean(0)
        _, directions = torch.linalg.eigh(mean_square(pooled - middle))  # those of largest variance last
        subspace = directions[:, features - rank :].T
        within = pooled - means[torch.searchsorted(classes, known.labels)]
        values, vectors = torch.linalg.eigh(mean_square(within @ subspace.T))
        white = (vectors / (values * features).sqrt()).T
        score.keep(middle=middle, subspace=subspace, white=white, centres=(means - middle) @ subspace.T @ white.T)
        if rank < features:
            score.keep(rest=1 / (variance_left(within, subspace) * features).sqrt())
        return score

    @classmethod
    def compact(cls, known: Known) -> Mahalanobis:
        """The same of few dimensions, for a file."""
        return cls.fitted(known, RANK)

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N, 1)."""
        centred = pooled - self.middle
        within = linear(centred, self.subspace)
        nearest = self.nearest(within)
        return -(nearest + self.left(centred, within)) if "rest" in self._buffers else -nearest

    def nearest(self, within: torch.Tensor) -> torch.Tensor:
        """Squared distance from the nearest class in the subspace, (N, R) -> (N, 1)."""
        apart = linear(within, self.white).unsqueeze(1) - self.centres
        return (apart * apart).sum(2).amin(1, keepdim=True)

    def left(self, centred: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
        """Squared length of what is not in the subspace, scaled, (N, D) and (N, R) -> (N, 1)."""
        whole, inside = centred * self.rest, within * self.rest
        return (whole * whole).sum(1, keepdim=True) - (inside * inside).sum(1, keepdim=True)


class RelativeMahalanobis(Mahalanobis):
    """The squared distance from the mean of all, in their covariance, minus that from the nearest class.

    Buffers besides: `spread` (R,), the inverse standard deviation of all features in each direction of the subspace;
    and `gain` (), by which the scaled rest counts to the difference, unless R = D.
    """

    spread: torch.Tensor
    gain: torch.Tensor

    @classmethod
    def fitted(cls, known: Known, rank: int | None = None) -> RelativeMahalanobis:
        """As its parent's."""
        score = super().fitted(known, rank)
        assert isinstance(score, cls)
        pooled = known.pooled.double()
        centred, subspace = pooled - pooled.mean(0), score.subspace.double()
        variances = mean_square(centred @ subspace.T).diagonal()
        score.keep(spread=1 / (variances * pooled.shape[1]).sqrt())
        if "rest" in score._buffers:
            within = 1 / (score.rest.double() ** 2 * pooled.shape[1])
            score.keep(gain=within / variance_left(centred, subspace) - 1)
        return score

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N, 1)."""
        centred = pooled - self.middle
        within = linear(centred, self.subspace)
        all_alike = within * self.spread
        difference = (all_alike * all_alike).sum(1, keepdim=True) - self.nearest(within)
        if "rest" in self._buffers:
            difference = difference + self.gain * self.left(centred, within)
        return difference


def variance_left(of: torch.Tensor, subspace: torch.Tensor) -> torch.Tensor:
    """Mean variance of centred rows (N, D) in the directions that a subspace (R, D) leaves, ()."""
    inside = of @ subspace.T
    left = (of * of).sum(1).mean() - (inside * inside).sum(1).mean()
    return (left / (of.shape[1] - len(subspace))).clamp(min=1e-6 * (of * of).mean())
