"""What of a recipe and of photos a student cannot be trained with: refused before anything starts."""

from __future__ import annotations

from attar.distill.losses import DistillObjective
from attar.errors import InputError
from attar.recipe import DistillSpec
from attar.train import distributed


def require_labels(unlabelled: str | None, objective: DistillObjective, *, taught: bool) -> None:
    """Refuse photos without labels for a student that needs labels, and one that has nothing to learn from.

    Args:
        unlabelled: the folder of photos without labels, if there is one.
        objective: what the student learns from.
        taught: whether there is a teacher.
    """
    if unlabelled and not taught:
        raise InputError(
            f"{unlabelled}: these photos have no labels, and without a teacher the student learns from labels alone. "
            "Give it a teacher, or leave data.unlabelled out."
        )
    if unlabelled and objective.labels:
        raise InputError(
            f"{unlabelled}: these photos have no labels, and the student learns from labels with weight "
            f"{objective.labels:.3g}. Set student.label_weight=0 to learn from the teacher alone, or leave "
            "data.unlabelled out."
        )
    if taught and not objective.labels and not any(each.weight for each in objective.losses):
        raise InputError("student: labels and losses all have weight 0. Give one of them more.")


def require_balance(spec: DistillSpec, objective: DistillObjective, *, taught: bool) -> None:
    """Refuse to balance the labels' loss of a student that reads no labels."""
    if spec.balance != "none" and taught and not objective.labels:
        raise InputError(
            f"student.balance: {spec.balance} balances the labels' loss, and this student's label weight is 0. Set "
            "student.label_weight above 0, or balance the teacher instead (teacher.balance)."
        )


def require_comparisons(spec: DistillSpec, objective: DistillObjective, batch_size: int, *, taught: bool) -> None:
    """Refuse losses that compare photos with each other where a part of a batch has too few of them.

    Args:
        spec: the student's.
        objective: what it is trained for.
        batch_size: photos in a batch, of all ranks and parts together.
        taught: whether there is a teacher.
    """
    parts = distributed.count() * spec.accumulate
    photos = batch_size // parts
    short = [each.loss for each in objective.losses if taught and each.weight and each.loss.photos > photos]
    if short:
        least = max(loss.photos for loss in short)
        raise InputError(
            f"student: {type(short[0]).__name__.lower()} compares photos with each other, and a batch of {batch_size} "
            f"in {parts} part(s) has {photos} photo(s) in each. Give each part at least {least}: batch_size "
            f"{least * parts} or more, or a smaller accumulate."
        )
