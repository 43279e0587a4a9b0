"""Virtual-logit matching (Wang et al., arXiv 2203.10807, section 4): energy, minus what the classes do not explain.

Features are split into the subspace in which those of training photos vary most, and the rest. The length in the rest
counts as one more logit, scaled so that on training photos it is as large as the largest real one. Its square is that
of the whole minus that in the subspace, which takes the smaller matrix.
"""

from __future__ import annotations

import torch
from torch.nn.functional import linear

from attar.students.familiarity.energy import energy
from attar.students.familiarity.score import Known, Score, mean_square

SMALL = 64
"""Dimensions of the subspace in a file, at most."""


class Vim(Score):
    """Energy, minus the length of the features in the rest.

    Buffers, with D features: `origin` (D,), what is subtracted of them; `subspace` (P, D), its directions; `scale` (),
    what the length in the rest is multiplied by.
    """

    origin: torch.Tensor
    subspace: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def fitted(cls, known: Known, most: int | None = None) -> Vim:
        """From the features of training photos and the classifier, whose logits vanish at the origin.

        `most`: dimensions of the subspace at most; None: the paper's.
        """
        score, features = cls(), known.pooled.shape[1]
        origin = -torch.linalg.pinv(known.weight.double()) @ known.bias.double()
        centred = known.pooled.double() - origin
        _, directions = torch.linalg.eigh(mean_square(centred))  # those of largest variance last
        dimensions = principal(features) if most is None else min(most, principal(features))
        score.keep(origin=origin, subspace=directions[:, features - dimensions :].T, scale=torch.ones(()))
        score.keep(scale=known.largest.mean() / score.beyond(known.pooled).mean())
        return score

    @classmethod
    def compact(cls, known: Known) -> Vim:
        """With a smaller subspace."""
        return cls.fitted(known, SMALL)

    def beyond(self, pooled: torch.Tensor) -> torch.Tensor:
        """Length in the rest, (N, D) -> (N, 1)."""
        centred = pooled - self.origin
        inside = linear(centred, self.subspace)
        squares = (centred * centred).sum(1, keepdim=True) - (inside * inside).sum(1, keepdim=True)
        return torch.relu(squares).sqrt()

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N, 1)."""
        return energy(logits) - self.scale * self.beyond(pooled)


def principal(features: int) -> int:
    """Dimensions of the subspace that classes explain, as the paper's code has them."""
    return 1000 if features >= 2048 else 512 if features >= 768 else features // 2
