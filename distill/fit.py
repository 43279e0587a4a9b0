"""Training a student by labels and a teacher: the one way for distilling, for integers and for probing.

    loss = label weight · cross-entropy(labels) + sum of weight · distillation loss(teacher)
           + weight · loss against negative flips(champion)

on views that teacher and student share. The teacher runs once for every view of every photo, before training, and its
outputs are read from the cache from then on: by every epoch, student and seed. Only then are the student's photos
decoded, so that those of one of the two are in memory at a time.

With a label weight of zero the labels are never read, and photos without any may take part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from attar.bundle import Bundle
from attar.data.photos import Photo, Photos, labels_of
from attar.data.store import PhotoStore
from attar.data.views import Batch, ViewLoader, ViewPolicy
from attar.distill.cache import TeacherCache
from attar.distill.champion import Champion, FlipLoss, objective_of_flips
from attar.distill.checks import require_balance, require_comparisons, require_labels
from attar.distill.losses import DistillObjective, objective_of
from attar.distill.losses.base import UNKNOWN, Loss
from attar.distill.module import DistillationModule
from attar.distill.teacher_check import refuse_useless
from attar.distill.teacher_outputs import fill_cache
from attar.inference import to_device
from attar.preprocessing import Preprocessing
from attar.recipe import DistillSpec, LossPart
from attar.sampling import spread
from attar.train import distributed
from attar.train.balance import LabelLoss, label_loss
from attar.train.evaluation import TrainingSample, validator
from attar.train.loop import train

FITTED_ON = 5000
"""Training photos that losses are fitted to at least, where there are so many."""
EACH = 50
"""Photos per class, on average, at least."""


@dataclass(frozen=True)
class Task:
    """What a student learns from, and for how long.

    Attributes:
        photos: the training and validation photos.
        spec: its losses and its schedule, as many epochs as there will be.
        preprocessing: how a photo becomes its input when it is evaluated.
        views: the view policy.
        teacher: a teacher's bundle with the same labels; None for labels alone.
        cache: folder of the teacher cache.
        seed: of dropout and the order of photos.
        checkpoint: file that an interrupted training continues from.
        identity: plain data; a checkpoint of another one is refused.
        title: for the progress bar.
        first: number of the first epoch, and so of its first view.
        champion: the student whose right answers are kept, by the loss that `spec.flips` then is.
    """

    photos: Photos
    spec: DistillSpec
    preprocessing: Preprocessing
    views: ViewPolicy
    teacher: Bundle | None
    cache: Path
    seed: int
    checkpoint: Path
    identity: Any
    title: str
    first: int = 0
    champion: Bundle | None = None


@dataclass(frozen=True)
class Fitted:
    """A trained student, the history of its epochs, its optimizer steps, and training photos to evaluate it on."""

    student: Any
    history: list[dict[str, Any]]
    steps: int
    sample: TrainingSample


def fit(student: nn.Module, task: Task, *, remeasure: bool = True) -> Fitted:
    """Train a student (or one that wraps it, as for integers) in place.

    Args:
        student: uint8 images (N, 3, H, W) -> logits, with `outputs` for its losses.
        task: what it learns from.
        remeasure: give its batch norms the statistics of training photos in the end and before each evaluation;
            not where the training is of the function with the statistics that it has.

    Raises:
        InputError: a teacher with other labels or useless outputs; a batch that the losses or views cannot take; a
            cache or checkpoint of another training.
    """
    spec, views, photos, objective = task.spec, task.views, task.photos, objective_of(task.spec)
    seen, labels = training_set(photos, objective, task.teacher)
    batch_size = min(spec.batch_size, len(seen))
    views.photos_in(batch_size)
    require_balance(spec, objective, taught=task.teacher is not None)
    require_comparisons(spec, objective, batch_size, taught=task.teacher is not None)
    cache = _cached_outputs(task, objective)
    champion, flips = _champion(task, batch_size)
    module = distillation_module(student, spec, cache, task.seed, label_loss(spec, photos), flips)
    if cache is not None:
        fit_losses(module, objective, cache, labels)
    loader = ViewLoader(
        PhotoStore(seen, spec.size), labels, views, size=spec.size, batch_size=batch_size, seed=task.seed
    )
    sample = TrainingSample(photos, task.preprocessing)
    trained = train(
        module,
        spec,
        _From(loader, task.first),
        loss_function(objective, cache, champion),
        seed=task.seed,
        checkpoint=task.checkpoint,
        identity=task.identity,
        title=task.title,
        validate=validator(photos, task.preprocessing, spec.select),
        remeasure=sample.remeasure if remeasure and distributed.is_first() else None,
    )
    fitted: Any = trained.model
    return Fitted(fitted.student, trained.history, spec.epochs * loader.steps, sample)


def steps_of(spec: DistillSpec, photos: Photos, teacher: Bundle | None) -> int:
    """Optimizer steps in an epoch; the incomplete last batch is left out."""
    seen, _ = training_set(photos, objective_of(spec), teacher)
    return len(seen) // min(spec.batch_size, len(seen))


def _cached_outputs(task: Task, objective: DistillObjective) -> TeacherCache | None:
    """The teacher's outputs for the views of this training, if there is a teacher."""
    if task.teacher is None:
        return None
    cache = fill_cache(
        task.teacher,
        task.photos,
        task.views,
        task.cache,
        epochs=task.first + task.spec.epochs,
        kinds=objective.kinds,
        temperature=objective.temperature,
        compile=task.spec.compile_teacher,
    )
    if (
        task.spec.check_teacher and objective.labels and "logits" in objective.kinds
    ):  # the labelled photos come first in it
        refuse_useless(cache, labels_of(task.photos.train), task.teacher)
    return cache


def _champion(task: Task, batch_size: int) -> tuple[Champion | None, FlipLoss | None]:
    """The champion, if there is one, and the loss against its answers."""
    if task.champion is None:
        return None, None
    part, labels = task.spec.flips, task.photos.labels
    assert isinstance(part, LossPart)
    require_comparisons(task.spec, objective_of_flips(part), batch_size, taught=True)
    return Champion(task.champion, labels), FlipLoss(part, labels, task.champion.labels)


def training_set(
    photos: Photos, objective: DistillObjective, teacher: Bundle | None
) -> tuple[tuple[Photo, ...], np.ndarray]:
    """The photos a student is shown, and their labels int64 (photos,), all `UNKNOWN` where they have no weight."""
    require_labels(photos.spec.without_labels, objective, taught=teacher is not None)
    if teacher is None or objective.labels:
        return photos.train, labels_of(photos.train)
    seen = photos.train + photos.unlabelled
    return seen, np.full(len(seen), UNKNOWN, dtype=np.int64)


def distillation_module(
    student: nn.Module,
    spec: DistillSpec,
    cache: TeacherCache | None,
    seed: int,
    supervised: LabelLoss | None = None,
    flips: FlipLoss | None = None,
) -> DistillationModule:
    """The student as it is trained, with what its losses learn beside it; `supervised` is by default not balanced."""
    torch.manual_seed(seed)  # projectors begin the same whether the teacher has just run or not
    objective = objective_of(spec) if cache is not None else None
    shapes = cache.shapes if cache is not None else {}
    supervised = supervised or LabelLoss(spec.label_smoothing)
    return DistillationModule(student, objective, size=spec.size, teacher=shapes, supervised=supervised, flips=flips)


def fit_losses(
    module: DistillationModule, objective: DistillObjective, cache: TeacherCache, labels: np.ndarray
) -> None:
    """Show the losses the teacher's outputs to view 0 of training photos (`Loss.fit`).

    Args:
        module: the student and the losses' projectors.
        objective: the losses.
        cache: of the teacher's outputs, view 0 in it.
        labels: int64 (photos,), `UNKNOWN` where there is none.
    """
    most = max(FITTED_ON, EACH * cache.shape[1])
    index = np.array(spread(range(len(labels)), most))
    for each, projector in zip(objective.losses, module.projectors):
        if type(each.loss).fit is not Loss.fit:
            stored = cache.outputs(0, index, each.loss.teacher)
            outputs = {kind: torch.from_numpy(output) for kind, output in stored.items()}
            each.loss.fit(projector, outputs, torch.from_numpy(labels[index]))


def loss_function(
    objective: DistillObjective, cache: TeacherCache | None, champion: Champion | None = None
) -> Callable[[nn.Module, Batch], torch.Tensor]:
    """The loss as a function of (`DistillationModule`, batch), for `attar.train.loop.train`."""

    def taught(batch: Batch) -> dict[str, torch.Tensor] | None:
        if cache is None:
            return None
        stored = cache.outputs(batch.view, batch.index, objective.kinds)
        return {kind: to_device(torch.from_numpy(output), batch.images.device) for kind, output in stored.items()}

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        kept = champion(batch.images) if champion else None
        return model(batch.images, batch.labels, taught(batch), kept)

    return loss_of


class _From:
    """A loader that begins at a later epoch."""

    def __init__(self, loader: ViewLoader, first: int) -> None:
        self._loader, self._first = loader, first
        self.batch_size, self.steps = loader.batch_size, loader.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return self._loader.epoch(self._first + epoch, start)
