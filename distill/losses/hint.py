"""Hints: the student's middle feature map, projected, against the teacher's middle one.

What FitNets began with (Romero et al., arXiv 1412.6550, section 2.2): a layer in the middle of the teacher tells the
student what to look for, on a finer grid and before everything is bent towards the classes. Two things differ: the
paper fits the hint alone first, and here it is one term of the sum throughout; and the distance is that of `feature`,
the teacher's features whitened, not the square of the difference.

Of a convolutional network the middle map is the last one finer than its last (1/16 of the image's side); of a ViT the
tokens after half its blocks; of a hybrid ViT a map of its convolutional part (`attar.middle`).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from distill.losses.base import Answers, Loss, Shapes
from distill.losses.feature import Metric, feature


class Hint(Loss):
    """`feature` of the middle maps, after a projector of its own."""

    teacher: ClassVar = ("middle",)
    student: ClassVar = ("middle",)
    metric: Metric = "cosine"
    beta: float = Field(2.0, gt=0, description="smooth_l1: where the square ends and the straight line begins")

    def learned(self, student: Shapes, teacher: Shapes) -> nn.Module:
        """A 1x1 convolution from the student's channels to the teacher's: the paper's regressor."""
        return nn.Conv2d(student["middle"][0], teacher["middle"][0], 1)

    def __call__(self, student: Answers, teacher: Answers, labels: Tensor, learned: nn.Module) -> Tensor:
        """See `distill.losses.feature.feature`."""
        return feature(learned(student["middle"]), teacher["middle"], self.metric, self.beta)
