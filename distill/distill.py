"""Fitting a student to photos by their labels and, if there is one, by a teacher.

    loss = label weight · cross-entropy(labels) + sum of weight · distillation loss(teacher)

on views that teacher and student share. The teacher runs once for every view of every photo, before
training, and its answers are read from the cache from then on: by every epoch, student and seed.

With a label weight of zero the labels are never read, and photos without any may take part.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import students
from attar import ranks
from attar.balance import LabelLoss, label_loss
from attar.bundle import Bundle, read_bundle
from attar.data import Photo, Photos, labels_of
from attar.errors import InputError
from attar.evaluation import TrainingSample, evaluate, validator
from attar.inference import device
from attar.keeping import discard
from attar.preprocessing import Preprocessing
from attar.provenance import agree_on, provenance
from attar.recipe import DistillSpec
from attar.training import scheduled, train
from attar.views import Batch, PhotoStore, ViewLoader, ViewPolicy
from attar.warmstart import about, warm_start
from distill.answers import identity_of, teacher_answers
from distill.cache import TeacherCache
from distill.learner import Learner
from distill.losses import Goal, goal_of
from distill.losses.base import UNKNOWN
from distill.useless import refuse_useless


def distill(
    photos: Photos,
    spec: DistillSpec,
    output: Path,
    *,
    teacher: Bundle | Path | None = None,
    views: ViewPolicy | None = None,
    cache: Path | None = None,
    seed: int = 0,
    start: Bundle | None = None,
) -> Bundle:
    """Fit a student and write its bundle to `output`; without a teacher, by the labels alone.

    Args:
        photos: the training and validation photos.
        spec: the student and its schedule.
        output: folder of the bundle. An interrupted run continues from `<output>.training.pt`.
        teacher: a teacher's bundle with the same labels.
        views: the view policy.
        cache: folder of the teacher cache; by default `<output>.teacher-cache`.
        seed: of the student's first weights, dropout and the order of photos.
        start: an earlier student, whose weights this one begins with (`attar.warmstart`).

    Raises:
        InputError: the teacher has other labels; unlabelled photos for a student that needs labels; a cache or
            checkpoint of another run.
    """
    goal = goal_of(spec)
    views = views or ViewPolicy()
    teacher = read_bundle(teacher, "teacher") if isinstance(teacher, Path) else teacher
    agree_on(
        photos, seed, recipe=spec.model_dump(), views=views.to_json(), teacher=teacher and teacher.fingerprint,
        unlabelled=photos.unlabelled_fingerprint, start=start and start.fingerprint,
    )  # fmt: skip
    require_balance(spec, goal, taught=teacher is not None)
    seen, labels = lesson(photos, goal, teacher)
    torch.manual_seed(seed)
    student = students.create_student(
        spec.name, len(photos.labels), head=spec.head, pretrained=spec.pretrained and start is None,
        checkpoint=None if start else spec.checkpoint, head_width=spec.head_width, drop_rate=spec.drop_rate,
        activation=spec.activation,
    )  # fmt: skip
    if start is not None:
        warm_start(student, student.network, photos.labels, start)
    loader = ViewLoader(
        PhotoStore(seen, spec.size), labels, views, size=spec.size, batch_size=spec.batch_size, seed=seed
    )
    views.photos_in(loader.batch_size)  # before the teacher is asked
    require_comparisons(spec, goal, loader.batch_size, taught=teacher is not None)
    spec = scheduled(spec, loader.steps)
    answers = None
    if teacher is not None:
        folder = cache or output.with_name(f"{output.name}.teacher-cache")
        answers = teacher_answers(
            teacher, photos, views, folder, epochs=spec.epochs, kinds=goal.kinds, temperature=goal.temperature,
            compile=spec.compile_teacher,
        )  # fmt: skip
        if spec.check_teacher and goal.labels and "logits" in goal.kinds:  # the labelled photos come first in it
            refuse_useless(answers, labels_of(photos.train), teacher)
    checkpoint = output.with_name(f"{output.name}.training.pt")
    identity = [identity_of(photos), views.to_json(), teacher.fingerprint if teacher else None]
    identity += [start.fingerprint] if start else []
    preprocessing = Preprocessing(spec.size, spec.crop, fit=spec.fit)
    sample = TrainingSample(photos, preprocessing)
    trained = train(
        learner(student, spec, answers, seed, label_loss(spec, photos)), spec, loader, objective(goal, answers),
        seed=seed, checkpoint=checkpoint, identity=identity, validate=validator(photos, preprocessing, spec.select),
        remeasure=sample.remeasure if ranks.is_first() else None, title=f"Training {spec.name}",
    )  # fmt: skip
    fitted: Any = trained.model.student
    with ranks.first_alone() as writes:
        if writes:
            metrics = evaluate(fitted.to(device()), photos, preprocessing, "Evaluating the student", sample)
            metrics["steps"] = spec.epochs * loader.steps
            students.save(
                fitted.cpu(), output, labels=photos.labels, preprocessing=preprocessing,
                metrics={**metrics, "history": trained.history},
                provenance=provenance(
                    photos, seed, {"student": spec.model_dump(), "views": views.to_json()},
                    teacher=about_teacher(teacher) if teacher else None,
                    **({"continued_from": about(start)} if start else {}),
                ),
            )  # fmt: skip
            discard(checkpoint)
    return read_bundle(output, "student")


def lesson(photos: Photos, goal: Goal, teacher: Bundle | None) -> tuple[tuple[Photo, ...], np.ndarray]:
    """The photos a student is shown, and their labels int64 (photos,), all `UNKNOWN` where the goal ignores them."""
    require_labels(photos.spec.unlabelled, goal, taught=teacher is not None)
    if teacher is None or goal.labels:
        return photos.train, labels_of(photos.train)
    seen = photos.train + photos.unlabelled
    return seen, np.full(len(seen), UNKNOWN, dtype=np.int64)


def require_labels(unlabelled: str | None, goal: Goal, *, taught: bool) -> None:
    """Refuse photos without labels for a student that needs labels, and one that has nothing to learn from.

    Args:
        unlabelled: the folder of photos without labels, if there is one.
        goal: what the student learns from.
        taught: whether there is a teacher.
    """
    if unlabelled and not taught:
        raise InputError(
            f"{unlabelled}: these photos have no labels, and without a teacher the student learns from labels alone. "
            "Give it a teacher, or leave data.unlabelled out."
        )
    if unlabelled and goal.labels:
        raise InputError(
            f"{unlabelled}: these photos have no labels, and the student learns from labels with weight "
            f"{goal.labels:.3g}. Set student.label_weight=0 to learn from the teacher alone, or leave data.unlabelled "
            "out."
        )
    if taught and not goal.labels and not any(each.weight for each in goal.losses):
        raise InputError("student: labels and losses all have weight 0. Give one of them more.")


def require_balance(spec: DistillSpec, goal: Goal, *, taught: bool) -> None:
    """Refuse to balance the labels' loss of a student that reads no labels."""
    if spec.balance != "none" and taught and not goal.labels:
        raise InputError(
            f"student.balance: {spec.balance} balances the labels' loss, and this student's label weight is 0. Set "
            "student.label_weight above 0, or balance the teacher instead (teacher.balance)."
        )


def require_comparisons(spec: DistillSpec, goal: Goal, batch_size: int, *, taught: bool) -> None:
    """Refuse losses that compare photos with each other where a part of a batch has too few of them.

    Args:
        spec: the student's.
        goal: what it is trained for.
        batch_size: photos in a batch, of all ranks and parts together.
        taught: whether there is a teacher.
    """
    parts = ranks.count() * spec.accumulate
    photos = batch_size // parts
    short = [each.loss for each in goal.losses if taught and each.weight and each.loss.photos > photos]
    if short:
        least = max(loss.photos for loss in short)
        raise InputError(
            f"student: {type(short[0]).__name__.lower()} compares photos with each other, and a batch of {batch_size} "
            f"in {parts} part(s) has {photos} photo(s) in each. Give each part at least {least}: batch_size "
            f"{least * parts} or more, or a smaller accumulate."
        )


def learner(
    student: nn.Module,
    spec: DistillSpec,
    answers: TeacherCache | None,
    seed: int,
    supervised: LabelLoss | None = None,
) -> Learner:
    """The student as it is trained, with what its losses learn beside it; `supervised` is by default not balanced."""
    torch.manual_seed(seed)  # projectors begin the same whether the teacher has just run or not
    goal = goal_of(spec) if answers is not None else None
    shapes = answers.shapes if answers is not None else {}
    supervised = supervised or LabelLoss(spec.label_smoothing)
    return Learner(student, goal, size=spec.size, teacher=shapes, supervised=supervised)


def objective(goal: Goal, answers: TeacherCache | None) -> Callable[[nn.Module, Batch], torch.Tensor]:
    """The loss as a function of (`Learner`, batch), for `attar.training.train`."""

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        if answers is None:
            return model(batch.images, batch.labels)
        stored = answers.answers(batch.view, batch.index, goal.kinds)
        soft = {kind: torch.from_numpy(answer).to(batch.images.device) for kind, answer in stored.items()}
        return model(batch.images, batch.labels, soft)

    return loss_of


def about_teacher(teacher: Bundle) -> dict[str, Any]:
    """What a student's provenance says of its teacher."""
    metrics = {
        key: teacher.metrics[key] for key in ("images", "top1", "top1_interval", "majority") if key in teacher.metrics
    }
    members = [member["name"] for member in teacher.architecture.get("members", ())]  # of an ensemble
    about = {"name": teacher.name, "fingerprint": teacher.fingerprint, "metrics": metrics}
    return {**about, "members": members} if members else about
