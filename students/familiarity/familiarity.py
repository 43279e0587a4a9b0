"""A score of familiarity on a scale from 0 to 1, as a student carries it and its files give it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from attar.students.familiarity.score import Known
from attar.students.familiarity.scores import SCORES

REFUSED = 0.05
"""Share of a student's own photos below the middle of the scale."""
_TYPICAL = 0.95
"""Where the median of its own photos stands."""


class Familiarity(nn.Module):
    """How much a photo is like those that a student knows.

    Args:
        name: of the score, in `SCORES`.
        buffers: those of the score, by name, with the prefix `score.`, and `border` and `slope`: the score at 0.5, and
            what its distance from there is multiplied by.
    """

    border: torch.Tensor
    slope: torch.Tensor

    def __init__(self, name: str, buffers: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        own = {key.removeprefix("score."): value for key, value in buffers.items() if key.startswith("score.")}
        self.name = name
        self.score = SCORES[name].rebuilt(own)
        for key in ("border", "slope"):
            self.register_buffer(key, buffers[key].float())

    @classmethod
    def fitted(cls, name: str, known: Known, own: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Familiarity:
        """The score, compact, of training photos; and its scale, by what a student makes of validation photos.

        Args:
            name: of the score.
            known: of training photos.
            own: logits (n, classes) and pooled features (n, D) of validation photos, in batches.
        """
        score = SCORES[name].compact(known)
        values = torch.cat([score(logits, pooled).flatten() for logits, pooled in own])
        border, median = values.quantile(REFUSED), values.quantile(0.5)
        slope = math.log(_TYPICAL / (1 - _TYPICAL)) / (median - border).clamp(min=1e-6)
        buffers = {f"score.{key}": value for key, value in score.named_buffers()}
        return cls(name, {**buffers, "border": border, "slope": slope})

    def forward(self, logits: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), pooled features (N, D) -> (N, 1), in [0, 1]."""
        return torch.sigmoid((self.score(logits, pooled) - self.border) * self.slope)
