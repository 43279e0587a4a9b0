"""Fitting a teacher to a user's photos: fine-tuning, or a linear probe on frozen features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.nn import functional

from attar import ranks
from attar.bundle import Bundle, read_bundle
from attar.console import track
from attar.data import Photos, labels_of, load_pixels
from attar.errors import InputError
from attar.evaluation import evaluate, validator
from attar.inference import device, to_tensor
from attar.keeping import discard
from attar.provenance import agree_on, provenance
from attar.recipe import TeachSpec
from attar.training import train
from attar.views import Batch, PhotoStore, ViewLoader, ViewPolicy
from teachers.create import Teacher, create_teacher, preprocessing_of, save


def teach(photos: Photos, spec: TeachSpec, output: Path, *, views: ViewPolicy | None = None, seed: int = 0) -> Bundle:
    """Fit a teacher to `photos` and write its bundle to `output`.

    Fine-tuning continues from `<output>.training.pt` if it was interrupted; the file goes when the
    bundle is written.
    """
    views = views or ViewPolicy()
    agree_on(photos, seed, recipe=spec.model_dump(), views=views.to_json())
    torch.manual_seed(seed)
    teacher = create_teacher(
        spec.name, len(photos.labels),
        pretrained=spec.pretrained, checkpoint=spec.checkpoint, options=spec.options, crop=spec.crop,
    )  # fmt: skip
    history: list[dict[str, float]] = []
    checkpoint = output.with_name(f"{output.name}.training.pt")
    if spec.method == "finetune":
        history = _finetune(teacher, photos, spec, views, seed, checkpoint)
    with ranks.first_alone() as writes:
        if writes:
            if spec.method == "probe":
                _probe(teacher, photos)
            metrics = evaluate(teacher.to(device()), photos, preprocessing_of(teacher), "Evaluating the teacher")
            teacher.cpu().eval()
            save(
                teacher, output, labels=photos.labels, metrics={**metrics, "history": history},
                provenance=provenance(photos, seed, {"teacher": spec.model_dump(), "views": views.to_json()}),
            )  # fmt: skip
            discard(checkpoint)
    return read_bundle(output, "teacher")


def _finetune(
    teacher: Teacher, photos: Photos, spec: TeachSpec, views: ViewPolicy, seed: int, checkpoint: Path
) -> list[dict[str, float]]:
    labels = labels_of(photos.train)
    store = PhotoStore(photos.train, teacher.size)
    loader = ViewLoader(store, labels, views, size=teacher.size, batch_size=spec.batch_size, seed=seed)

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(model(batch.images), batch.labels, label_smoothing=spec.label_smoothing)

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        assert isinstance(model, Teacher)
        return param_groups_layer_decay(model.network, spec.weight_decay, layer_decay=spec.layer_decay)

    identity = [photos.fingerprint, views.to_json()]
    trained = train(
        teacher, spec, loader, loss_of, seed=seed, checkpoint=checkpoint, identity=identity,
        parameters=groups, validate=validator(photos, preprocessing_of(teacher), spec.select),
        title="Fitting the teacher",
    )  # fmt: skip
    teacher.load_state_dict(trained.model.state_dict())
    return trained.history


@torch.inference_mode()
def _probe(teacher: Teacher, photos: Photos) -> None:
    """Solve the classifier on the frozen, pooled features of the training photos, in place."""
    from sklearn.linear_model import LogisticRegression

    classifier = teacher.network.get_classifier()  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear):
        raise InputError(f"teacher {teacher.architecture['name']!r}: has no linear classifier to probe. Use finetune.")
    pixels = load_pixels(photos.train, preprocessing_of(teacher), "Reading photos")
    teacher.to(device()).eval()
    starts = range(0, len(pixels), 32)
    parts = [
        teacher.features(to_tensor(pixels[s : s + 32]).to(device())).float().cpu().numpy()
        for s in track(starts, "Teacher features", len(starts))
    ]
    features = np.concatenate(parts).astype(np.float64)
    mean, std = features.mean(0), features.std(0) + 1e-6
    solved = LogisticRegression(max_iter=2000, C=0.1).fit((features - mean) / std, labels_of(photos.train))
    weight, bias = solved.coef_, solved.intercept_
    if len(weight) == 1:  # two classes: one logit, split over both
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / std
    bias = bias - weight @ mean
    classifier.weight.copy_(torch.from_numpy(weight))
    classifier.bias.copy_(torch.from_numpy(bias))
