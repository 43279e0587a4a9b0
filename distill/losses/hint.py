"""Hints: the student's middle feature map, projected, against the teacher's middle one.

What FitNets began with (Romero et al., arXiv 1412.6550, section 2.2): a layer in the middle of the teacher tells the
student what to look for, on a finer grid and before everything is bent towards the classes. Two things differ: the
paper fits the hint alone first, and here it is one term of the sum throughout; and the distance is that of `feature`,
the teacher's features whitened, not the square of the difference.

Of a convolutional network the middle map is the last one finer than its last (1/16 of the image's side); of a ViT the
tokens after half its blocks; of a hybrid ViT a map of its convolutional part (`attar.mid_features`).
"""

from __future__ import annotations

from typing import ClassVar

from attar.distill.losses.feature import Feature


class Hint(Feature):
    """`feature` of the middle maps, after a projector of its own (the paper's regressor)."""

    teacher: ClassVar = ("mid_features",)
    student: ClassVar = ("mid_features",)
