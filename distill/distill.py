"""Fitting a student to photos by their labels and, if there is one, by a teacher.

    loss = (1 - weight) · cross-entropy(labels) + weight · distillation loss(teacher)

on views that teacher and student share. The teacher runs once for every view of every photo, before
training, and its answers are read from the cache from then on: by every epoch, student and seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn
from torch.nn import functional

import students
import teachers
from attar import ranks
from attar.bundle import Bundle, read_bundle
from attar.console import track
from attar.data import Photos, labels_of
from attar.errors import InputError
from attar.evaluation import evaluate, validator
from attar.inference import device
from attar.keeping import discard
from attar.preprocessing import Preprocessing
from attar.provenance import agree_on, provenance
from attar.recipe import DistillSpec
from attar.training import train
from attar.views import Batch, PhotoStore, ViewLoader, ViewPolicy
from distill.cache import TeacherCache
from distill.losses import loss_named
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

    Raises:
        InputError: the teacher has other labels; a cache or checkpoint of another run.
    """
    loss_named(spec.loss)
    views = views or ViewPolicy()
    teacher = read_bundle(teacher, "teacher") if isinstance(teacher, Path) else teacher
    agree_on(photos, seed, recipe=spec.model_dump(), views=views.to_json(), teacher=teacher and teacher.fingerprint)
    torch.manual_seed(seed)
    student = students.create_student(
        spec.name, len(photos.labels), head=spec.head, pretrained=spec.pretrained, checkpoint=spec.checkpoint,
        head_width=spec.head_width, drop_rate=spec.drop_rate, activation=spec.activation,
    )  # fmt: skip
    loader = ViewLoader(
        PhotoStore(photos.train, spec.size), labels_of(photos.train), views,
        size=spec.size, batch_size=spec.batch_size, seed=seed,
    )  # fmt: skip
    answers = None
    if teacher is not None:
        folder = cache or output.with_name(f"{output.name}.teacher-cache")
        answers = teacher_answers(teacher, photos, views, folder, epochs=spec.epochs)
        if spec.check_teacher:
            refuse_useless(answers, labels_of(photos.train), teacher)
    checkpoint = output.with_name(f"{output.name}.training.pt")
    identity = [photos.fingerprint, views.to_json(), teacher.fingerprint if teacher else None]
    preprocessing = Preprocessing(spec.size, spec.crop)
    trained = train(
        student, spec, loader, objective(spec, answers),
        seed=seed, checkpoint=checkpoint, identity=identity, validate=validator(photos, preprocessing, spec.select),
        title=f"Training {spec.name}",
    )  # fmt: skip
    with ranks.first_alone() as writes:
        if writes:
            metrics = evaluate(trained.model.to(device()), photos, preprocessing, "Evaluating the student")
            students.save(
                trained.model.cpu(), output, labels=photos.labels, preprocessing=preprocessing,  # type: ignore[arg-type]
                metrics={**metrics, "history": trained.history},
                provenance=provenance(
                    photos, seed, {"student": spec.model_dump(), "views": views.to_json()},
                    teacher=about_teacher(teacher) if teacher else None,
                ),
            )  # fmt: skip
            discard(checkpoint)
    return read_bundle(output, "student")


def teacher_answers(bundle: Bundle, photos: Photos, views: ViewPolicy, folder: Path, *, epochs: int) -> TeacherCache:
    """The cache of the teacher's logits for every view that `epochs` epochs will see, built where missing."""
    if bundle.labels != photos.labels:
        raise InputError(
            f"{bundle.path}: the teacher knows {len(bundle.labels)} classes ({_first(bundle.labels)}), the photos have "
            f"{len(photos.labels)} ({_first(photos.labels)}). Fit the teacher to these photos with `attar teach`."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = range(min(epochs, views.count))
    # Several students may be trained at once from one cache: the first one here builds it, with all its ranks.
    with ranks.held(FileLock(folder.with_name(f"{folder.name}.lock"))):
        cache = _build_cache(bundle, photos, views, folder, needed)
        if ranks.count() > 1:  # open it again, for the views that the others have added
            ranks.exchange(None)
            cache = _build_cache(bundle, photos, views, folder, needed)
    return cache


def _build_cache(bundle: Bundle, photos: Photos, views: ViewPolicy, folder: Path, needed: range) -> TeacherCache:
    shape = (len(photos.train), len(photos.labels))
    cache = TeacherCache(
        folder, teacher=bundle.fingerprint, data=photos.fingerprint, views=views.fingerprint, shape=shape
    )
    missing = ranks.exchange(cache.missing(needed))[0]
    if not missing:
        return cache
    model = teachers.load(bundle).to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    # The teacher sees the very view the student sees, drawn at the teacher's own size.
    loader = ViewLoader(
        PhotoStore(photos.train, model.size), labels_of(photos.train), views, size=model.size, batch_size=64, seed=0
    )

    def compute(view: int) -> np.ndarray:
        steps = -(-shape[0] // loader.batch_size)
        title = f"Teacher's answers to view {view + 1}/{len(needed)}"
        with torch.inference_mode(), torch.autocast(device().type, torch.bfloat16, enabled=_fast_bf16()):
            parts = [
                model(batch.images.to(device())).float().cpu().numpy()
                for batch in track(loader.in_order(view), title, steps)
            ]
        return np.concatenate(parts)

    cache.build(ranks.share(missing), compute)
    return cache


def objective(spec: DistillSpec, answers: TeacherCache | None) -> Any:
    """The loss as a function of (model, batch), for `attar.training.train`."""
    distillation = loss_named(spec.loss)

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        logits = model(batch.images).float()
        hard = functional.cross_entropy(logits, batch.labels, label_smoothing=spec.label_smoothing)
        if answers is None:
            return hard
        soft = torch.from_numpy(answers.logits(batch.view, batch.index)).to(logits.device)
        return (1 - spec.weight) * hard + spec.weight * distillation(logits, soft, batch.labels, spec.temperature)

    return loss_of


def _fast_bf16() -> bool:
    """Whether a forward pass in bf16 is faster than in fp32 here: GPUs, and CPUs with bf16 instructions."""
    if device().type == "cpu":
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(supported and supported())
    return device().type == "cuda" and torch.cuda.is_bf16_supported()


def about_teacher(teacher: Bundle) -> dict[str, Any]:
    """What a student's provenance says of its teacher."""
    metrics = {key: teacher.metrics[key] for key in ("images", "top1") if key in teacher.metrics}
    return {"name": teacher.name, "fingerprint": teacher.fingerprint, "metrics": metrics}


def _first(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
