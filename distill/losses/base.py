"""What a distillation loss is: its options, what it reads of teacher and student, and a scalar.

A loss reads *outputs*, dictionaries of tensors for one batch:

    logits        (N, C)        student and teacher
    pooled        (N, D)        student and teacher: what the classifier sees
    feature_map   (N, D, h, w)  student: its backbone's last feature map
                                teacher: `whitened` patch tokens, or last feature map, laid out as the image
    mid_features  (N, D, h, w)  student and teacher: the feature map in the middle (`attar.mid_features`)
                                teacher: `whitened`
    attention     (N, h, w)     teacher: `attention_map` of its feature map

The widths D and the grids of the two need not agree. The teacher's outputs come from its cache, which stores what the
chosen losses name in `teacher` and nothing else. `whitened`, `attention_map` and `resampled` are here because the
cache and several losses share them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn
from torch.nn import functional

Outputs = Mapping[str, torch.Tensor]
"""One model's outputs to a batch, by kind."""
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of one photo's output, by kind."""

UNKNOWN = -1
"""The label of a photo whose label is not known, or is not to be read."""


class Loss(BaseModel, ABC):
    """A distillation loss; its fields are its options, validated by pydantic.

    Attributes:
        teacher: kinds of the teacher's outputs that it reads.
        student: kinds of the student's outputs that it reads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    teacher: ClassVar[tuple[str, ...]] = ("logits",)
    student: ClassVar[tuple[str, ...]] = ("logits",)

    @property
    def photos(self) -> int:
        """Photos that a part of a batch must have for the loss to say anything; more than 1 if it compares photos."""
        return 1

    def projector(self, student: Shapes, teacher: Shapes) -> nn.Module:
        """What is trained along with the student, such as a projector, and dropped afterwards; mostly nothing."""
        return nn.Identity()

    def fit(self, projector: nn.Module, teacher: Outputs, labels: torch.Tensor) -> None:
        """Learn from the teacher's outputs what holds for all photos, once before training; mostly nothing.

        Args:
            projector: what the method `projector` made; what is found goes into its buffers.
            teacher: the teacher's outputs to one view of training photos, float32, on the CPU.
            labels: class indices, int64 (N,); `UNKNOWN` where there is none, or where labels are not to be read.
        """

    @abstractmethod
    def __call__(self, student: Outputs, teacher: Outputs, labels: torch.Tensor, projector: nn.Module) -> torch.Tensor:
        """The mean over the batch, a scalar.

        Args:
            student: the student's outputs, floating point, with gradients.
            teacher: the teacher's outputs, the same type, without.
            labels: class indices, int64 (N,); `UNKNOWN` where there is none. Of a mixed view, the class with the
                larger share.
            projector: what the method `projector` made.
        """


def whitened(features: torch.Tensor) -> torch.Tensor:
    """Every position's features to mean 0 and variance 1 over the channels, (N, D, h, w) -> the same shape.

    Layer norm without weights, as Wei et al. whiten the teacher (arXiv 2205.14141, section 3): teachers differ by
    orders of magnitude in the size of their features, and a few channels of a ViT dwarf the others' differences
    between photos. It also keeps every value well inside half precision.
    """
    return functional.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1)


def attention_map(features: torch.Tensor) -> torch.Tensor:
    """Mean square over the channels, a map of unit length for each photo: (N, D, h, w) -> (N, h, w).

    Zagoruyko and Komodakis, arXiv 1612.03928, section 3.1, F_sum with p = 2, normalized as in equation 2.
    """
    energy = features.square().mean(1)
    return functional.normalize(energy.flatten(1)).view_as(energy)


def resampled(features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Maps (N, D, h, w) on another grid, (N, D, *grid), each new position the mean of the area that it covers.

    The mean over a map stays. By two small matrices, because torch 2.14 has no other that does it everywhere: its
    antialiased interpolation leaves out an axis of maps that come to be one position wide, and its adaptive pooling
    refuses grids that do not divide each other on Apple's GPUs.
    """
    if features.shape[-2:] == grid:
        return features
    rows, columns = (_overlap(old, new).to(features) for old, new in zip(features.shape[-2:], grid))
    return rows @ features @ columns.T


def _overlap(old: int, new: int) -> torch.Tensor:
    """(new, old): the share of each of `old` intervals in each of `new` that divide the same line; rows sum to 1."""
    edges = torch.arange(new + 1, dtype=torch.float64) * old / new
    start = torch.arange(old, dtype=torch.float64)
    shared = torch.minimum(edges[1:, None], start + 1) - torch.maximum(edges[:-1, None], start)
    return shared.clamp(min=0) * new / old


def coarser(a: torch.Tensor, b: torch.Tensor) -> tuple[int, int]:
    """The grid on which two maps meet: the smaller of both sides.

    Averaging the finer map loses what the other cannot say; stretching the coarser one would ask it for detail that
    its grid has no room for.
    """
    return min(a.shape[-2], b.shape[-2]), min(a.shape[-1], b.shape[-1])
