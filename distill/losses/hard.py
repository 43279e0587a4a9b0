"""Hard-label distillation: the teacher's decision as a second label (Touvron et al., arXiv 2012.12877, section 4).

DeiT's distillation *token* has no counterpart here. Its use is a second path through the transformer, from a token of
its own. In a convolutional student both classifiers would read the same pooled features, and the mean of two linear
maps of one vector, which is what DeiT answers with, is one linear map: nothing of the second would be left in the file,
while the head's contract would have to know of it.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attar.distill.losses.base import Loss, Outputs


class Hard(Loss):
    """`hard`, with label smoothing if wanted; reads the logits. DeiT weighs it as much as the labels."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `hard`."""
        return hard(student["logits"], teacher["logits"], self.label_smoothing)


def hard(student: torch.Tensor, teacher: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy of the student against the class that the teacher finds most likely (equation 3).

    Logits (N, C) -> scalar, mean over the batch. Unlike soft targets it says nothing of the other classes, and it
    follows the view: where a crop has lost the labelled thing, the teacher's decision says what is left to see.
    """
    return functional.cross_entropy(student, teacher.argmax(1), label_smoothing=label_smoothing)
