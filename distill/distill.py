"""Fitting a student to photos by their labels and, if there is one, by a teacher.

    loss = label weight · cross-entropy(labels) + sum of weight · distillation loss(teacher)

on views that teacher and student share. The teacher runs once for every view of every photo, before
training, and its answers are read from the cache from then on: by every epoch, student and seed.

With a label weight of zero the labels are never read, and photos without any may take part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn

import students
import teachers
from attar import ranks
from attar.bundle import Bundle, read_bundle
from attar.console import track
from attar.data import Photo, Photos, labels_of
from attar.errors import InputError
from attar.evaluation import evaluate, validator
from attar.files import digest_of
from attar.inference import device
from attar.keeping import discard
from attar.preprocessing import Preprocessing
from attar.provenance import agree_on, provenance
from attar.recipe import DistillSpec
from attar.training import train
from attar.views import Batch, PhotoStore, ViewLoader, ViewPolicy
from distill.cache import TeacherCache
from distill.learner import Learner
from distill.losses import Goal, goal_of
from distill.losses.base import UNKNOWN, attention_map, whitened
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
        InputError: the teacher has other labels; unlabelled photos for a student that needs labels; a cache or
            checkpoint of another run.
    """
    goal = goal_of(spec)
    views = views or ViewPolicy()
    teacher = read_bundle(teacher, "teacher") if isinstance(teacher, Path) else teacher
    agree_on(
        photos, seed, recipe=spec.model_dump(), views=views.to_json(), teacher=teacher and teacher.fingerprint,
        unlabelled=photos.unlabelled_fingerprint,
    )  # fmt: skip
    seen, labels = lesson(photos, goal, teacher)
    torch.manual_seed(seed)
    student = students.create_student(
        spec.name, len(photos.labels), head=spec.head, pretrained=spec.pretrained, checkpoint=spec.checkpoint,
        head_width=spec.head_width, drop_rate=spec.drop_rate, activation=spec.activation,
    )  # fmt: skip
    loader = ViewLoader(
        PhotoStore(seen, spec.size), labels, views, size=spec.size, batch_size=spec.batch_size, seed=seed
    )
    answers = None
    if teacher is not None:
        folder = cache or output.with_name(f"{output.name}.teacher-cache")
        answers = teacher_answers(teacher, photos, views, folder, epochs=spec.epochs, kinds=goal.kinds)
        if spec.check_teacher and goal.labels and "logits" in goal.kinds:  # the labelled photos come first in it
            refuse_useless(answers, labels_of(photos.train), teacher)
    checkpoint = output.with_name(f"{output.name}.training.pt")
    identity = [identity_of(photos), views.to_json(), teacher.fingerprint if teacher else None]
    preprocessing = Preprocessing(spec.size, spec.crop)
    trained = train(
        learner(student, spec, answers, seed), spec, loader, objective(goal, answers),
        seed=seed, checkpoint=checkpoint, identity=identity, validate=validator(photos, preprocessing, spec.select),
        title=f"Training {spec.name}",
    )  # fmt: skip
    fitted: Any = trained.model.student
    with ranks.first_alone() as writes:
        if writes:
            metrics = evaluate(fitted.to(device()), photos, preprocessing, "Evaluating the student")
            students.save(
                fitted.cpu(), output, labels=photos.labels, preprocessing=preprocessing,
                metrics={**metrics, "history": trained.history},
                provenance=provenance(
                    photos, seed, {"student": spec.model_dump(), "views": views.to_json()},
                    teacher=about_teacher(teacher) if teacher else None,
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


def teacher_answers(
    bundle: Bundle,
    photos: Photos,
    views: ViewPolicy,
    folder: Path,
    *,
    epochs: int,
    kinds: tuple[str, ...] = ("logits",),
) -> TeacherCache:
    """The cache of the teacher's answers to every view that `epochs` epochs will see, built where missing."""
    if bundle.labels != photos.labels:
        raise InputError(
            f"{bundle.path}: the teacher knows {len(bundle.labels)} classes ({_first(bundle.labels)}), the photos have "
            f"{len(photos.labels)} ({_first(photos.labels)}). Fit the teacher to these photos with `attar teach`."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = range(min(epochs, views.count))
    # Several students may be trained at once from one cache: the first one here builds it, with all its ranks.
    with ranks.held(FileLock(folder.with_name(f"{folder.name}.lock"))):
        cache = _build_cache(bundle, photos, views, folder, needed, kinds)
        if ranks.count() > 1:  # open it again, for the views that the others have added
            ranks.exchange(None)
            cache = _build_cache(bundle, photos, views, folder, needed, kinds)
    return cache


def _build_cache(
    bundle: Bundle, photos: Photos, views: ViewPolicy, folder: Path, needed: range, kinds: tuple[str, ...]
) -> TeacherCache:
    seen = photos.train + photos.unlabelled
    cache = TeacherCache(
        folder, teacher=bundle.fingerprint, data=identity_of(photos), views=views.fingerprint,
        shape=(len(seen), len(photos.labels)),
    )  # fmt: skip
    missing = ranks.exchange(cache.missing(needed, kinds))[0]
    if not missing:
        return cache
    model = teachers.load(bundle).to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    one = torch.zeros(1, 3, model.size, model.size, dtype=torch.uint8, device=device())
    cache.expect({kind: answer.shape[1:] for kind, answer in _ask(model, one, kinds).items()})
    # The teacher sees the very view the student sees, drawn at the teacher's own size.
    labels = np.full(len(seen), UNKNOWN, dtype=np.int64)
    loader = ViewLoader(PhotoStore(seen, model.size), labels, views, size=model.size, batch_size=64, seed=0)

    def compute(view: int) -> Iterator[dict[str, np.ndarray]]:
        title = f"Teacher's answers to view {view + 1}/{len(needed)}"
        for batch in track(loader.in_order(view), title, -(-len(seen) // loader.batch_size)):
            yield _ask(model, batch.images.to(device()), kinds)

    cache.build(ranks.share(missing), compute, kinds)
    return cache


@torch.inference_mode()
def _ask(model: Any, images: torch.Tensor, kinds: tuple[str, ...]) -> dict[str, np.ndarray]:
    """A teacher's answers to images, by kind, as they are stored: float32 (N, ...)."""
    with torch.autocast(device().type, torch.bfloat16, enabled=_fast_bf16()):
        raw = {"logits": model(images)} if kinds == ("logits",) else model.answers(images)
    raw = {kind: answer.float() for kind, answer in raw.items()}
    return {kind: _STORED[kind](raw).cpu().numpy() for kind in kinds}


_STORED: dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]] = {
    "logits": lambda raw: raw["logits"],
    "pooled": lambda raw: raw["pooled"],
    "map": lambda raw: whitened(raw["map"]),
    "attention": lambda raw: attention_map(raw["map"]),
}
"""Kind of answer -> how it is made from what the teacher gives. See `distill.losses.base`."""


def identity_of(photos: Photos) -> str:
    """Which photos: the labelled ones and, if there are any, the others."""
    if not photos.unlabelled:
        return photos.fingerprint
    return digest_of([photos.fingerprint, photos.unlabelled_fingerprint])


def learner(student: nn.Module, spec: DistillSpec, answers: TeacherCache | None, seed: int) -> Learner:
    """The student as it is trained, with what its losses learn beside it."""
    torch.manual_seed(seed)  # projectors begin the same whether the teacher has just run or not
    goal = goal_of(spec) if answers is not None else None
    shapes = answers.shapes if answers is not None else {}
    return Learner(student, goal, size=spec.size, teacher=shapes, label_smoothing=spec.label_smoothing)


def objective(goal: Goal, answers: TeacherCache | None) -> Callable[[nn.Module, Batch], torch.Tensor]:
    """The loss as a function of (`Learner`, batch), for `attar.training.train`."""

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        if answers is None:
            return model(batch.images, batch.labels)
        stored = answers.answers(batch.view, batch.index, goal.kinds)
        soft = {kind: torch.from_numpy(answer).to(batch.images.device) for kind, answer in stored.items()}
        return model(batch.images, batch.labels, soft)

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
