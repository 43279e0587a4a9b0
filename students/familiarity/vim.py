"""Virtual-logit matching (Wang et al., arXiv 2203.10807, section 4): energy, minus what the classes do not explain.

Features are split into the subspace in which those of training photos vary most, and the rest. The length in the rest
counts as one more logit, scaled so that on training photos it is as large as the largest real one.
"""

from __future__ import annotations

import torch

from attar.students.familiarity.score import Known, Score, mean_square


class Vim(Score):
    """Energy, minus the length of the features in the rest.

    Args:
        origin: what is subtracted of features, (D,).
        rest: directions of the rest, (D, R).
        scale: what the length in the rest is multiplied by.
    """

    origin: torch.Tensor
    rest: torch.Tensor

    def __init__(self, origin: torch.Tensor, rest: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("origin", origin.float())
        self.register_buffer("rest", rest.float())
        self.scale = scale

    @classmethod
    def fitted(cls, known: Known) -> Vim:
        """From the features of training photos and the classifier, whose logits vanish at the origin."""
        origin = -torch.linalg.pinv(known.weight.double()) @ known.bias.double()
        centred = known.pooled.double() - origin
        _, directions = torch.linalg.eigh(mean_square(centred))  # those of least variance first
        rest = directions[:, : directions.shape[1] - principal(directions.shape[1])]
        scale = known.logits.amax(1).double().mean() / (centred @ rest).norm(dim=1).mean()
        return cls(origin, rest, float(scale))

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N,)."""
        largest = logits.amax(1)
        energy = largest + torch.log(torch.exp(logits - largest[:, None]).sum(1))
        beyond = (pooled - self.origin) @ self.rest
        return energy - self.scale * (beyond * beyond).sum(1).sqrt()


def principal(features: int) -> int:
    """Dimensions of the subspace that classes explain, as the paper's code has them."""
    return 1000 if features >= 2048 else 512 if features >= 768 else features // 2
