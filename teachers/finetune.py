"""Fitting a teacher by gradients: all of it, or low-rank adapters of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from timm.layers import freeze_batch_norm_2d, unfreeze_batch_norm_2d
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from attar.data.photos import labels_of
from attar.data.store import PhotoStore
from attar.data.views import Batch, ViewLoader
from attar.errors import InputError
from attar.inference import torch_device
from attar.recipe import FinetuneSpec, LoraSpec
from attar.teachers.adapters import adapt, merge
from attar.teachers.context import FitContext, Fitted
from attar.teachers.create import preprocessing_of
from attar.teachers.teacher import Teacher
from attar.train import distributed
from attar.train.balance import label_loss
from attar.train.evaluation import TrainingSample, validator
from attar.train.loop import scheduled, train, undecayed


def finetune(context: FitContext) -> Fitted:
    """Train everything, each layer slower than the next (layer-wise learning-rate decay, as in arXiv 2106.08254)."""
    spec = context.spec
    assert isinstance(spec, FinetuneSpec)

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        assert isinstance(model, Teacher)
        network = model.network
        return param_groups_layer_decay(
            network, spec.weight_decay, no_weight_decay_list=undecayed(network), layer_decay=spec.layer_decay
        )

    teacher = context.create()
    return _train(teacher, context, groups)


def lora(context: FitContext) -> Fitted:
    """Train low-rank adapters and the classifier, and merge them: an ordinary teacher comes out.

    The statistics of batch norms, where a hybrid has any, stay as they are.
    """
    spec = context.spec
    assert isinstance(spec, LoraSpec)
    if spec.shard:
        raise InputError(
            "teacher.shard: adapters are too small to be worth spreading over ranks. Set teacher.shard to false, or "
            "teacher.method to finetune."
        )
    teacher = context.create()
    teacher.network = freeze_batch_norm_2d(teacher.network)
    matrices = adapt(teacher, spec.lora_rank, spec.lora_alpha, mlp=spec.lora_mlp)
    weights = sum(p.numel() for p in teacher.parameters() if p.requires_grad)
    fitted = _train(teacher, context)
    merge(teacher)
    teacher.network = unfreeze_batch_norm_2d(teacher.network)
    return replace(fitted, about={"lora": {"matrices": matrices, "trained_weights": weights}})


def _train(
    teacher: Teacher, context: FitContext, groups: Callable[[nn.Module], list[dict[str, Any]]] | None = None
) -> Fitted:
    """Train a teacher, in place."""
    photos, spec, views = context.photos, context.spec, context.views
    store = PhotoStore(photos.train, teacher.size)
    loader = ViewLoader(
        store, labels_of(photos.train), views, size=teacher.size, batch_size=spec.batch_size, seed=context.seed
    )

    supervised = label_loss(spec, photos).to(torch_device())
    sample = TrainingSample(photos, preprocessing_of(teacher))

    def loss_of(model: nn.Module, batch: Batch) -> Tensor:
        return supervised(model(batch.images), batch.labels)

    spec = scheduled(spec, loader.steps)
    trained = train(
        teacher,
        spec,
        loader,
        loss_of,
        seed=context.seed,
        checkpoint=context.checkpoint,
        identity=[photos.fingerprint, views.to_json(), *([context.start.fingerprint] if context.start else [])],
        parameters=groups,
        validate=validator(photos, preprocessing_of(teacher), spec.select),
        remeasure=sample.remeasure if distributed.is_first() else None,
        title="Fitting the teacher",
    )
    teacher.load_state_dict(trained.model.state_dict())
    return Fitted(teacher, trained.history, steps=spec.epochs * loader.steps, sample=sample)
