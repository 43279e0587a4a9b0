"""Learning from labels when a few classes have most of the photos.

Plain cross-entropy learns how frequent classes are along with what they look like, and the rare ones lose. Two ways
to take that back, by the counts of the training photos:

- `logit_adjusted` (Menon et al., arXiv 2007.07314, section 4.2, equation 10): the logits are fitted after
  τ · log(frequency) is added, so that the network itself need not say how frequent a class is;
- `class_balanced` (Cui et al., arXiv 1901.05555, section 4): a photo weighs as the inverse of its class's *effective
  number* of photos, (1 - β^n) / (1 - β), whose sum over classes is scaled to their count.

Only the labels' term of a loss is balanced. A teacher's answer is a whole distribution, which has whatever view of
frequencies its teacher was fitted with: weighing or shifting it would hold the student to answers that no teacher
gave. A teacher is balanced where it is fitted.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from attar.data.photos import Photos, labels_of
from attar.recipe import TrainSpec


class LabelLoss(nn.Module):
    """Cross-entropy with labels, balanced or not: logits (N, C) and labels -> scalar, mean over the photos.

    Args:
        label_smoothing: share of every label that is spread over all classes, in [0, 1).
        offset: added to the logits, float (C,).
        weight: of a photo by its class, float (C,). The mean divides by photos, not by weights: the loss of a batch
            is then that of its parts, in whichever rank they are.
    """

    offset: torch.Tensor | None
    weight: torch.Tensor | None

    def __init__(
        self, label_smoothing: float = 0.0, offset: np.ndarray | None = None, weight: np.ndarray | None = None
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        for name, values in (("offset", offset), ("weight", weight)):  # they follow from the photos: nothing to keep
            self.register_buffer(name, None if values is None else torch.from_numpy(values).float(), persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Labels are int64 (N,), or each class's share, float (N, C), as mixed views have them."""
        if self.offset is not None:
            logits = logits + self.offset
        if self.weight is None:
            return functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        # A mixed photo is as much of each class as its shares say, in its weight as in its label. Smoothing comes
        # after: the share that it gives to rare classes must not be multiplied by their large weights.
        shares = labels if labels.is_floating_point() else functional.one_hot(labels, logits.shape[1])
        weighted = shares * self.weight
        photo = weighted.sum(1)
        losses = functional.cross_entropy(
            logits, weighted / photo[:, None], reduction="none", label_smoothing=self.label_smoothing
        )
        return (photo * losses).mean()


def label_loss(spec: TrainSpec, photos: Photos) -> LabelLoss:
    """The labels' loss that a recipe asks for, by the training photos of each class."""
    if spec.balance == "none":
        return LabelLoss(spec.label_smoothing)
    counts = np.bincount(labels_of(photos.train), minlength=len(photos.labels))  # every class has one
    if spec.balance == "logit_adjusted":
        return LabelLoss(spec.label_smoothing, offset=spec.tau * np.log(counts / counts.sum()))
    return LabelLoss(spec.label_smoothing, weight=effective_weights(counts, spec.beta))


def effective_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Weights (C,) inverse to the effective numbers of photos and with mean 1, from counts (C,); 0 <= beta < 1."""
    inverse = (1 - beta) / -np.expm1(counts * np.log(beta)) if beta else np.ones(len(counts))
    return inverse * len(counts) / inverse.sum()
