"""Fitting a student to photos by their labels and, if there is one, by a teacher, and writing its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from attar import students
from attar.bundle import Bundle, as_bundle, read_bundle
from attar.data.photos import Photos
from attar.data.views import ViewPolicy
from attar.distill.champion import require_champion, with_flips
from attar.distill.fit import Fitted, Task, fit, steps_of
from attar.distill.teacher_outputs import identity_of
from attar.inference import torch_device
from attar.preprocessing import Preprocessing
from attar.provenance import agree_on, provenance
from attar.recipe import DistillSpec
from attar.students.fit_familiarity import check_score, fit_familiarity
from attar.students.heads import check_head
from attar.train import distributed
from attar.train.checkpoints import discard
from attar.train.evaluation import evaluate
from attar.train.loop import scheduled
from attar.train.warm_start import about, warm_start


def distill_student(
    photos: Photos,
    spec: DistillSpec,
    output: Path | str,
    *,
    teacher: Bundle | Path | str | None = None,
    views: ViewPolicy | None = None,
    cache: Path | str | None = None,
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
        start: an earlier student, whose weights this one begins with (`attar.train.warm_start`), and whose right
            answers it keeps as `spec.flips` says (`attar.distill.champion`).

    Raises:
        InputError: the teacher has other labels; unlabelled photos for a student that needs labels; a cache or
            checkpoint of another run; a loss against negative flips without an earlier student.
    """
    views = views or ViewPolicy()
    output = Path(output)
    teacher = as_bundle(teacher, "teacher") if teacher else None
    agree_on(
        photos,
        seed,
        recipe=spec.model_dump(),
        views=views.to_json(),
        teacher=teacher and teacher.fingerprint,
        unlabelled=photos.unlabelled_fingerprint,
        start=start and start.fingerprint,
    )
    check_head(spec.head)
    if spec.familiarity:
        check_score(spec.familiarity)
    require_champion(spec, start)
    if start is not None:
        spec = with_flips(spec, start, photos.labels, taught=teacher is not None)
    spec = scheduled(spec, steps_of(spec, photos, teacher))
    task = Task(
        photos,
        spec,
        Preprocessing(spec.size, spec.crop, fit=spec.fit),
        views,
        teacher,
        Path(cache) if cache else cache_of(output),
        seed,
        checkpoint=output.with_name(f"{output.name}.training.pt"),
        identity=[
            identity_of(photos),
            views.to_json(),
            teacher.fingerprint if teacher else None,
            *([start.fingerprint] if start else []),
        ],
        title=f"Training {spec.name}",
        champion=start if spec.flips else None,
    )
    fitted = fit(_begun(spec, photos, seed, start), task)
    with distributed.first_alone() as writes:
        if writes:
            save(fitted, task, output, about={"continued_from": about(start)} if start else {})
            discard(task.checkpoint)
    return read_bundle(output, "student")


def _begun(spec: DistillSpec, photos: Photos, seed: int, start: Bundle | None) -> students.Student:
    """A student with its first weights: drawn by the seed, pretrained, or those of an earlier one."""
    torch.manual_seed(seed)
    student = students.create_student(
        spec.name,
        len(photos.labels),
        head=spec.head,
        pretrained=spec.pretrained and start is None,
        checkpoint=None if start else spec.checkpoint,
        head_width=spec.head_width,
        head_options=spec.head_options,
        drop_rate=spec.drop_rate,
        activation=spec.activation,
    )
    students.check_size(student, spec.size)
    if start is not None:
        warm_start(student, student.network, photos.labels, start)
    return student


def save(fitted: Fitted, task: Task, output: Path, *, about: Mapping[str, Any], steps: int | None = 0) -> Bundle:
    """Evaluate a trained student, calibrate its confidence, and write its bundle.

    Args:
        fitted: what `attar.distill.fit.fit` gave; its student is a plain one.
        task: what it was trained by.
        output: folder of the bundle.
        about: what else goes into the provenance.
        steps: those of trainings before this one; None where they are not known.
    """
    photos, student = task.photos, fitted.student.to(torch_device())
    metrics = evaluate(student, photos, task.preprocessing, "Evaluating the student", fitted.sample, calibrated=True)
    metrics |= {} if steps is None else {"steps": steps + fitted.steps}
    if students.divide_logits(student, metrics["calibration"]["temperature"], task.preprocessing.size):
        metrics["ece"] = metrics["calibration"]["after"]
    else:
        del metrics["calibration"]
    name = task.spec.familiarity or (student.familiarity and student.familiarity.name)
    student.familiarity = fit_familiarity(student, name, photos, task.preprocessing) if name else None
    return students.save(
        student.cpu(),
        output,
        labels=photos.labels,
        preprocessing=task.preprocessing,
        metrics={**metrics, "history": fitted.history},
        provenance=provenance(
            photos,
            task.seed,
            {"student": task.spec.model_dump(), "views": task.views.to_json()},
            teacher=about_teacher(task.teacher) if task.teacher else None,
            **about,
        ),
    )


def cache_of(output: Path) -> Path:
    """Where the teacher's outputs are kept unless a folder is named: beside the bundle."""
    return output.with_name(f"{output.name}.teacher-cache")


def about_teacher(teacher: Bundle) -> dict[str, Any]:
    """What a student's provenance says of its teacher."""
    metrics = {
        key: teacher.metrics[key] for key in ("images", "top1", "top1_interval", "majority") if key in teacher.metrics
    }
    members = [member["name"] for member in teacher.architecture.get("members", ())]  # of an ensemble
    about = {"name": teacher.name, "fingerprint": teacher.fingerprint, "metrics": metrics}
    return {**about, "members": members} if members else about
