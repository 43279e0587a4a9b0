"""Keeping what an earlier student has right: a loss against negative flips (docs/flips.md).

A negative flip is a photo that the champion, the student that a run continues from, has right, and the challenger, the
new student, has wrong. While the challenger is trained, the frozen champion sees each of its views, and any loss that
reads logits alone holds the one to the other's answers; `focal` and `ldi` are made for it. Only classes that both know
take part, matched by name. The label of a photo whose class the champion does not know is `UNKNOWN` to the loss.

The champion runs at every step and is not cached as a teacher's outputs are: it is as small as the student, its forward
pass costs a third of a step of training or less, and on disk there is nothing to keep in step with the photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from attar import students
from attar.bundle import Bundle
from attar.console import say
from attar.distill.losses import LOSSES, DistillObjective, Weighted, loss_named, objective_of
from attar.distill.losses.base import UNKNOWN, Loss
from attar.errors import InputError
from attar.inference import torch_device
from attar.recipe import DistillSpec, LossPart

DEFAULT = LossPart(name="ldi", weight=0.3)
"""What `student.flips: auto` is where there is a champion; chosen by `attar.benchmarks.studies.flips`."""

KEY = "student.flips"


class Champion:
    """A frozen student: views -> its logits of the classes that the challenger knows too.

    Args:
        bundle: the champion.
        labels: the challenger's classes, in order.
    """

    def __init__(self, bundle: Bundle, labels: Sequence[str]) -> None:
        self._model = students.load(bundle).eval().requires_grad_(False).to(torch_device())
        self._size = bundle.preprocessing.size
        column = {label: number for number, label in enumerate(bundle.labels)}
        self._columns = torch.tensor([column[label] for label in shared(labels, bundle.labels)], device=torch_device())

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (N, 3, S, S) -> float32 (N, shared classes), in the challenger's order. Other sizes are resized."""
        if images.shape[-1] != self._size:
            resized = functional.interpolate(images.float(), (self._size,) * 2, mode="bilinear", antialias=True)
            images = resized.round().clamp(0, 255).to(torch.uint8)
        return self._model(images)[:, self._columns].float()


class FlipLoss(nn.Module):
    """The weighted loss of a challenger's logits against its champion's.

    Args:
        part: which loss, its weight and options.
        labels: the challenger's classes, in order.
        known: the champion's.
    """

    columns: torch.Tensor
    number: torch.Tensor

    def __init__(self, part: LossPart, labels: Sequence[str], known: Sequence[str]) -> None:
        super().__init__()
        self.weight, self.loss = part.weight, flip_loss(part)
        both = shared(labels, known)
        columns = torch.tensor([number for number, label in enumerate(labels) if label in both])
        number = torch.full((len(labels),), UNKNOWN)
        number[columns] = torch.arange(len(columns))
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("number", number, persistent=False)
        self.projector = self.loss.projector({"logits": (len(both),)}, {"logits": (len(both),)})

    def forward(self, logits: torch.Tensor, champion: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """A scalar.

        Args:
            logits: the challenger's, float32 (N, its classes).
            champion: the champion's, float32 (N, shared classes), as `Champion` gives them.
            labels: the challenger's class indices, int64 (N,); `UNKNOWN` where there is none.
        """
        known = torch.where(labels == UNKNOWN, labels, self.number[labels.clamp(min=0)])
        value = self.loss({"logits": logits[:, self.columns]}, {"logits": champion}, known, self.projector)
        return self.weight * value


def shared(labels: Sequence[str], known: Sequence[str]) -> list[str]:
    """The labels that are known, in their order."""
    return [label for label in labels if label in known]


def flip_loss(part: LossPart) -> Loss:
    """The loss that `student.flips` names.

    Raises:
        InputError: an unknown loss or option, or a loss that reads more than logits.
    """
    loss = loss_named(part.name, part.options, KEY)
    if (loss.teacher, loss.student) != (("logits",), ("logits",)):
        suitable = ", ".join(name for name, each in LOSSES.items() if each.teacher == each.student == ("logits",))
        raise InputError(f"{KEY}: loss {part.name!r} reads more than the champion's logits. Choose one of {suitable}.")
    return loss


def objective_of_flips(part: LossPart) -> DistillObjective:
    """The same as an objective, for `attar.distill.checks`."""
    return DistillObjective(0.0, (Weighted(part.weight, flip_loss(part)),))


def require_champion(spec: DistillSpec, champion: Bundle | None, labels: Sequence[str] | None = None) -> None:
    """Refuse a recipe that asks for a loss against negative flips where there can be none.

    Args:
        spec: the challenger's.
        champion: the student that is continued from, if any.
        labels: the challenger's classes, once they are known.

    Raises:
        InputError: no champion, or one that cannot be compared with.
    """
    if not isinstance(spec.flips, LossPart):
        return
    flip_loss(spec.flips)
    if champion is None:
        raise InputError(
            f"{KEY}: there is no earlier student whose right answers could be kept. Name its run with attar run "
            f"--continue-from RUN (for attar distill --qat: --champion BUNDLE), or leave {KEY} out."
        )
    if reason := _unlike(spec, champion, labels):
        raise InputError(f"{KEY}: {champion.path} {reason}, or set {KEY}=null.")


def with_flips(spec: DistillSpec, champion: Bundle, labels: Sequence[str], *, taught: bool) -> DistillSpec:
    """The recipe with `auto` replaced by what it means beside this champion; says what is done.

    Args:
        spec: the challenger's.
        champion: the student that is continued from.
        labels: the challenger's classes.
        taught: whether the challenger has a teacher, without which it always reads labels.

    Raises:
        InputError: as `require_champion`.
    """
    require_champion(spec, champion, labels)
    if spec.flips == "auto":
        reason = _unlike(spec, champion, labels)
        if taught and not objective_of(spec).labels:
            reason = "cannot be told right from wrong, because this student reads no labels"
        if reason:
            say(f"Nothing is done against negative flips: {champion.path} {reason}.")
        spec = spec.model_copy(update={"flips": None if reason else DEFAULT})
    if isinstance(spec.flips, LossPart):
        say(
            f"Against negative flips: {spec.flips.name}, weight {spec.flips.weight:g}, for "
            f"{len(shared(labels, champion.labels))} of {len(labels)} classes."
        )
    return spec


def _unlike(spec: DistillSpec, champion: Bundle, labels: Sequence[str] | None) -> str | None:
    """Why a champion's answers to the challenger's views mean nothing, and the remedy; None where they do."""
    if labels is not None and not shared(labels, champion.labels):
        return "has no class in common with the photos. Continue from a student of these classes"
    if champion.preprocessing.fit != spec.fit:
        return (
            f"takes photos with fit: {champion.preprocessing.fit}, and the recipe has fit: {spec.fit}. "
            f"Set student.fit={champion.preprocessing.fit}"
        )
    return None
