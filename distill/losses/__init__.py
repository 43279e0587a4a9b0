"""Distillation losses by name. A new one is a file here and a line below; docs/methods.md has them in a table.

Another package adds one by an entry point of the group `attar.losses` (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from attar.distill.losses.attention import Attention
from attar.distill.losses.base import Loss
from attar.distill.losses.beyond import Beyond
from attar.distill.losses.crd import CRD
from attar.distill.losses.dist import DIST
from attar.distill.losses.dkd import DKD
from attar.distill.losses.feature import Feature
from attar.distill.losses.focal import Focal
from attar.distill.losses.hard import Hard
from attar.distill.losses.hint import Hint
from attar.distill.losses.kd import KD
from attar.distill.losses.ldi import LDI
from attar.distill.losses.rkd import RKD
from attar.errors import InputError, did_you_mean
from attar.plugins import classes
from attar.recipe import DistillSpec

_OWN: dict[str, type[Loss]] = {
    "kd": KD,
    "dkd": DKD,
    "dist": DIST,
    "hard": Hard,
    "feature": Feature,
    "hint": Hint,
    "attention": Attention,
    "rkd": RKD,
    "crd": CRD,
    "beyond": Beyond,
    "focal": Focal,
    "ldi": LDI,
}
LOSSES = classes("attar.losses", Loss, _OWN)  # type: ignore[type-abstract]
"""Name -> loss."""


@dataclass(frozen=True)
class Weighted:
    """A loss and its weight in the sum."""

    weight: float
    loss: Loss


@dataclass(frozen=True)
class DistillObjective:
    """What a student that has a teacher is trained for: `labels` · cross-entropy + the weighted losses.

    Attributes:
        labels: weight of the labels; at 0 they are never read.
        losses: the rest.
    """

    labels: float
    losses: tuple[Weighted, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the teacher's outputs that are needed, and so stored."""
        return tuple(dict.fromkeys(kind for each in self.losses for kind in each.loss.teacher))

    @property
    def temperature(self) -> float:
        """The largest at which the teacher's logits are read."""
        read = [each.loss for each in self.losses if "logits" in each.loss.teacher]
        return max((getattr(loss, "temperature", 1.0) for loss in read), default=1.0)


def objective_of(spec: DistillSpec) -> DistillObjective:
    """The objective that a recipe's student part describes, `loss` and `weight` or `losses` and `label_weight`.

    Raises:
        InputError: an unknown loss or option, or a value out of range.
    """
    if spec.losses:
        losses = tuple(
            Weighted(part.weight, loss_named(part.name, part.options, f"student.losses.{place}"))
            for place, part in enumerate(spec.losses)
        )
        return DistillObjective(1.0 if spec.label_weight is None else spec.label_weight, losses)
    options = {} if spec.temperature is None else {"temperature": spec.temperature}
    losses = (Weighted(spec.weight, loss_named(spec.loss, options, "student")),)
    return DistillObjective(1 - spec.weight if spec.label_weight is None else spec.label_weight, losses)


def loss_named(name: str, options: Mapping[str, Any], where: str) -> Loss:
    """The loss of that name with its options, or an `InputError` that names the place and near matches."""
    if name not in LOSSES:
        raise InputError(f"{where}: loss {name!r} is unknown ({', '.join(LOSSES)}).{did_you_mean(name, LOSSES)}")
    try:
        return LOSSES[name].model_validate(dict(options))
    except ValidationError as error:
        raise InputError("\n".join(_explained(problem, name, where) for problem in error.errors())) from error


def _explained(problem: Any, name: str, where: str) -> str:
    key, names = str(problem["loc"][0]), list(LOSSES[name].model_fields)
    if problem["type"] == "extra_forbidden":
        options = ", ".join(names) or "it has none"
        return f"{where}: loss {name!r} has no option {key!r} ({options}).{did_you_mean(key, names)}"
    return f"{where}: loss {name!r}: {key}: {problem['msg']} (found {problem['input']!r})."
