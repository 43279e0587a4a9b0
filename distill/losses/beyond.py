"""What the teacher's features hold beyond the classes: for a student that is to know what it does not know.

After Teacher-Guided Training (Yang et al., arXiv 2603.11269, section 4). They find that a network trained on photos of
one kind keeps little of a photo but what tells the classes, so that a photo of something else looks like one of them;
and that the features of a teacher that has seen photos of many kinds hold more. With u a photo's features from the
teacher, (D,), μ their mean over the training photos and μ_c the mean of class c (their equations for U, P and u_dom):

    U = [μ_1 - μ, ..., μ_C - μ]      (D, C); P projects onto the span of its columns
    r = (I - P) (u - μ)              what u holds beyond the classes, (D,)
    loss = mean over the photos of 1 - cos(h(z), r)

with z the student's pooled features, (S,), and h a head that is dropped after training, two layers, S by S by D. As in
the paper, the loss weighs 1 beside the labels.

What is ours: P is the orthogonal projection, where theirs is U (UᵀU + εI)⁻¹ Uᵀ; the means are of one view of some
training photos (`attar.distill.fit`), read from the teacher's cache; photos without a label count for the class that
the teacher finds likeliest; between the layers of the head is a ReLU, of which the paper says nothing. `head: linear`
is one layer, so that z itself has to hold r linearly. The paper's teacher is a frozen DINOv2; one that has seen the
student's photos alone has less to tell. Whether it helped in attar: docs/familiarity.md.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional

from attar.console import say
from attar.distill.losses.base import UNKNOWN, Loss, Outputs, Shapes
from attar.errors import InputError

FAINT = 1e-6
"""Directions in which class means differ by less than this share of their main one count as none."""


class Beyond(Loss):
    """`beyond` of pooled features, after a head of its own; logits give photos without a label a class."""

    teacher: ClassVar = ("pooled", "logits")
    student: ClassVar = ("pooled",)
    head: Literal["mlp", "linear"] = "mlp"

    def projector(self, student: Shapes, teacher: Shapes) -> nn.Module:
        """The head, and the projection, which `fit` sets.

        Raises:
            InputError: the classes may span the teacher's features.
        """
        (wide,), (features,), (classes,) = student["pooled"], teacher["pooled"], teacher["logits"]
        if classes > features:
            raise InputError(
                f"loss 'beyond': the teacher's pooled features have {features} numbers, and the means of {classes} "
                "classes may span them all, so that nothing is left beyond. Choose a teacher with wider features, or "
                "another loss (docs/methods.md)."
            )
        layers = [nn.Linear(wide, wide), nn.ReLU()] if self.head == "mlp" else []
        head = nn.Sequential(*layers, nn.Linear(wide, features))
        return nn.ModuleDict({"head": head, "residual": Residual(features, classes)})

    def fit(self, projector: nn.Module, teacher: Outputs, labels: torch.Tensor) -> None:
        """Find the classes' span; says how much of the features' variance lies beyond it."""
        residual = _residual_of(projector)
        labels = torch.where(labels == UNKNOWN, teacher["logits"].argmax(1), labels)
        share = residual.fit(teacher["pooled"], labels)
        if not share > FAINT:
            raise InputError(
                "loss 'beyond': the teacher's features hold nothing beyond the means of the classes. Choose another "
                "teacher, or another loss (docs/methods.md)."
            )
        say(f"Of the variance of the teacher's features {100 * share:.0f}% lies beyond the classes")

    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """See `beyond`."""
        assert isinstance(projector, nn.ModuleDict)
        return beyond(projector["head"](student["pooled"]), _residual_of(projector)(teacher["pooled"]))


class Residual(nn.Module):
    """Features (N, D) -> what they hold beyond the classes, (N, D); before `fit`, the features themselves.

    Buffers: `mean` (D,); `span` (C, D), orthonormal rows, those beyond its rank zero.
    """

    mean: torch.Tensor
    span: torch.Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("span", torch.zeros(classes, features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(I - P) (u - μ) of each."""
        centred = features - self.mean
        return centred - centred @ self.span.T @ self.span

    def fit(self, features: torch.Tensor, labels: torch.Tensor) -> float:
        """Set mean and span from features, (N, D), and class indices, int64 (N,); the share of variance beyond them."""
        features = features.double()
        mean = features.mean(0)
        means = torch.stack([features[labels == label].mean(0) for label in labels.unique()])
        _, sizes, directions = torch.linalg.svd(means - mean, full_matrices=False)
        directions = directions[sizes > FAINT * sizes[0]]
        self.mean.copy_(mean)
        self.span.zero_()[: len(directions)].copy_(directions)
        centred = features - mean
        beyond = centred - centred @ directions.T @ directions
        return float(beyond.square().sum() / centred.square().sum().clamp(min=torch.finfo(torch.float64).tiny))


def _residual_of(projector: nn.Module) -> Residual:
    assert isinstance(projector, nn.ModuleDict)
    residual = projector["residual"]
    assert isinstance(residual, Residual)
    return residual


def beyond(predicted: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """1 - cosine of two (N, D), mean over the photos, in [0, 2]."""
    return 1 - functional.cosine_similarity(predicted, residual, dim=1).mean()
