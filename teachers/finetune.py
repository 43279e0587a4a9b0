"""Fitting a teacher by gradients: all of it, or low-rank adapters of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from timm.layers import freeze_batch_norm_2d, unfreeze_batch_norm_2d
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from attar import ranks
from attar.balance import label_loss
from attar.data import labels_of
from attar.errors import InputError
from attar.evaluation import TrainingSample, validator
from attar.inference import device
from attar.training import scheduled, train, undecayed
from attar.views import Batch, PhotoStore, ViewLoader
from teachers.adapters import adapt, merge
from teachers.create import preprocessing_of
from teachers.lesson import Fitted, Lesson
from teachers.teacher import Teacher


def finetune(lesson: Lesson) -> Fitted:
    """Train everything, each layer slower than the next (layer-wise learning-rate decay, as in arXiv 2106.08254)."""
    spec = lesson.spec

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        assert isinstance(model, Teacher)
        network = model.network
        return param_groups_layer_decay(
            network, spec.weight_decay, no_weight_decay_list=undecayed(network), layer_decay=spec.layer_decay
        )

    teacher = lesson.create()
    return _train(teacher, lesson, groups)


def lora(lesson: Lesson) -> Fitted:
    """Train low-rank adapters and the classifier, and merge them: an ordinary teacher comes out.

    The statistics of batch norms, where a hybrid has any, stay as they are.
    """
    spec = lesson.spec
    if spec.shard:
        raise InputError(
            "teacher.shard: adapters are too small to be worth spreading over ranks. Set teacher.shard to false, or "
            "teacher.method to finetune."
        )
    teacher = lesson.create()
    teacher.network = freeze_batch_norm_2d(teacher.network)
    matrices = adapt(teacher, spec.lora_rank, spec.lora_alpha, mlp=spec.lora_mlp)
    weights = sum(p.numel() for p in teacher.parameters() if p.requires_grad)
    fitted = _train(teacher, lesson)
    merge(teacher)
    teacher.network = unfreeze_batch_norm_2d(teacher.network)
    return replace(fitted, about={"lora": {"matrices": matrices, "trained_weights": weights}})


def _train(
    teacher: Teacher, lesson: Lesson, groups: Callable[[nn.Module], list[dict[str, Any]]] | None = None
) -> Fitted:
    """Train a teacher, in place."""
    photos, spec, views = lesson.photos, lesson.spec, lesson.views
    store = PhotoStore(photos.train, teacher.size)
    loader = ViewLoader(
        store, labels_of(photos.train), views, size=teacher.size, batch_size=spec.batch_size, seed=lesson.seed
    )

    supervised = label_loss(spec, photos).to(device())
    sample = TrainingSample(photos, preprocessing_of(teacher))

    def loss_of(model: nn.Module, batch: Batch) -> Tensor:
        return supervised(model(batch.images), batch.labels)

    spec = scheduled(spec, loader.steps)
    trained = train(
        teacher, spec, loader, loss_of, seed=lesson.seed, checkpoint=lesson.checkpoint,
        identity=[photos.fingerprint, views.to_json(), *([lesson.start.fingerprint] if lesson.start else [])],
        parameters=groups,
        validate=validator(photos, preprocessing_of(teacher), spec.select),
        remeasure=sample.remeasure if ranks.is_first() else None, title="Fitting the teacher",
    )  # fmt: skip
    teacher.load_state_dict(trained.model.state_dict())
    return Fitted(teacher, trained.history, steps=spec.epochs * loader.steps, sample=sample)
