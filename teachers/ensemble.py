"""Several teachers that answer as one.

What is averaged are probabilities, and their logarithm is what comes out:

    logits = log(sum of weight · softmax(member's logits))        softmax(logits) is the average

as Hinton et al. distil an ensemble (arXiv 1503.02531, section 1), with an arithmetic mean. A temperature above 1 in a
distillation loss then softens the average, not each member before it is averaged: softmax(logits / T) is the average
to the power of 1/T, normalized. A member that is surer than it is right outweighs the others whatever its weight says;
look at the calibration error that `attar teach` writes into each one's metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from attar.errors import InputError
from attar.teachers.teacher import Teacher

ENSEMBLE = "ensemble"
"""The name of its architecture."""


_TAKEN = ("num_classes", "size", "crop", "interpolation", "fit", "fill")
"""What an ensemble has of its member with the largest images."""


class Ensemble(nn.Module):
    """uint8 images of any size -> log probabilities; each member resizes and normalizes them its own way.

    Args:
        members: teachers, or ensembles again, of the same classes in the same order.
        weights: positive, one a member; their sum is brought to 1.

    Attributes:
        architecture: plain data that `teachers.load` rebuilds the module from. Its preprocessing is that
            of the member that takes the largest images, and the others shrink what it is given.
        size: side of that member's images, pixels.
    """

    log_weights: torch.Tensor
    architecture: dict[str, Any]

    def __init__(self, members: Sequence[Teacher | Ensemble], weights: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        shares = [weight / sum(weights) for weight in weights]
        self.register_buffer("log_weights", torch.tensor(shares).log(), persistent=False)
        largest = max((member.architecture for member in members), key=lambda about: about["size"])
        self.architecture = {
            "name": ENSEMBLE,
            **{key: largest[key] for key in _TAKEN if key in largest},
            "members": [member.architecture for member in members],
            "weights": shares,
        }
        self.size = int(largest["size"])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images (N, 3, H, W) in [0, 255] -> float32 logits (N, classes), at most 0."""
        answers = torch.stack([functional.log_softmax(member(images).float(), 1) for member in self.members])
        return torch.logsumexp(answers + self.log_weights.view(-1, 1, 1), 0)

    def outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Nothing beyond logits: the features of several networks have no space in common to average them in.

        Raises:
            InputError: always.
        """
        names = ", ".join(about["name"] for about in self.architecture["members"])
        raise InputError(
            f"teacher {ENSEMBLE!r} ({names}): has logits only, no features. Choose losses that need only logits, or "
            "one of its members as the teacher."
        )
