"""The module that is trained: a student, and beside it whatever its losses learn.

Everything that has gradients happens in its `forward`, so that whoever wraps the module (data parallelism, a
compiler) sees all of it. The projectors are trained, averaged and checkpointed with the student, and stay behind
when it is saved.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from attar.distill.champion import FlipLoss
from attar.distill.losses import DistillObjective
from attar.distill.losses.base import Shapes
from attar.train.balance import LabelLoss


class DistillationModule(nn.Module):
    """Images, labels and the teacher's outputs -> the loss; images alone -> the student's logits.

    Args:
        student: uint8 images -> logits; with an objective beyond logits, its `outputs` too.
        objective: what it is trained for; None: the labels alone.
        size: side of its images, pixels.
        teacher: shapes of the teacher's outputs.
        supervised: the loss of the labels.
        flips: the loss against a champion's answers, if there is one.
    """

    def __init__(
        self,
        student: nn.Module,
        objective: DistillObjective | None,
        *,
        size: int,
        teacher: Shapes,
        supervised: LabelLoss | None = None,
        flips: FlipLoss | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.flips = flips
        self.objective = objective
        self.supervised = supervised or LabelLoss()
        losses = objective.losses if objective else ()
        self._look = any(kind != "logits" for each in losses for kind in each.loss.student)
        shapes = _shapes_of(student, size) if self._look else {}
        self.projectors = nn.ModuleList(each.loss.projector(shapes, teacher) for each in losses)

    def forward(
        self,
        images: torch.Tensor,
        labels: torch.Tensor | None = None,
        teacher: Mapping[str, torch.Tensor] | None = None,
        champion: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The loss of a batch, a scalar; without labels the logits (N, C), so that it can be evaluated as a student.

        Args:
            images: uint8 (N, 3, S, S).
            labels: int64 (N,), -1 where there is none, or each class's share, float (N, C).
            teacher: its outputs of the kinds that the objective needs, float32.
            champion: its logits of the classes that both know, float32 (N, shared classes).
        """
        if labels is None:
            return self.student(images)
        outputs = self.student.outputs(images) if self._look else {"logits": self.student(images)}  # type: ignore[operator]
        outputs = {kind: output.float() for kind, output in outputs.items()}
        total = self._learned(outputs, labels, teacher)
        if self.flips is not None and champion is not None:
            with torch.autocast(images.device.type, enabled=False):
                total = total + self.flips(outputs["logits"], champion, _classes(labels))
        return total

    def _learned(
        self, outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, teacher: Mapping[str, torch.Tensor] | None
    ) -> torch.Tensor:
        """The loss of labels and teacher."""
        if self.objective is None or teacher is None:
            return self.supervised(outputs["logits"], labels)
        # Logarithms, norms and differences of half-precision numbers are no good.
        with torch.autocast(labels.device.type, enabled=False):
            total = outputs["logits"].new_zeros(())
            if self.objective.labels:
                total = self.objective.labels * self.supervised(outputs["logits"], labels)
            for each, projector in zip(self.objective.losses, self.projectors):
                total = total + each.weight * each.loss(outputs, teacher, _classes(labels), projector)
        return total


def _classes(labels: torch.Tensor) -> torch.Tensor:
    """Class indices (N,): of shares of classes (N, C) the largest."""
    return labels.argmax(1) if labels.is_floating_point() else labels


@torch.no_grad()
def _shapes_of(student: nn.Module, size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a student's outputs to one photo, by kind."""
    training = student.training
    outputs = student.eval().outputs(torch.zeros(1, 3, size, size, dtype=torch.uint8))  # type: ignore[operator]
    student.train(training)
    return {kind: tuple(output.shape[1:]) for kind, output in outputs.items()}
