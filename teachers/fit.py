"""Fitting a teacher to a user's photos, by one of several methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from attar.bundle import Bundle, read_bundle
from attar.data.photos import Photos
from attar.data.views import ViewPolicy
from attar.errors import InputError
from attar.files import remove
from attar.inference import torch_device
from attar.provenance import agree_on, provenance
from attar.recipe import TeachSpec
from attar.teachers.context import FitContext, Fitted, Method
from attar.teachers.create import load, preprocessing_of, save
from attar.teachers.finetune import finetune, lora
from attar.teachers.linear_probe import probe
from attar.teachers.untrained import ensemble, zero_shot
from attar.train import distributed
from attar.train.checkpoints import discard
from attar.train.evaluation import TrainingSample, evaluate
from attar.train.warm_start import about

METHODS: dict[str, Method] = {
    "finetune": finetune,
    "lora": lora,
    "probe": probe,
    "zero_shot": zero_shot,
    "ensemble": ensemble,
}
"""How a teacher comes to know a user's classes, by the recipe's `teacher.method`."""


TRAINED = ("finetune", "lora")
"""Methods that can go on from an earlier teacher's weights."""


def teach(
    photos: Photos,
    spec: TeachSpec,
    output: Path | str,
    *,
    views: ViewPolicy | None = None,
    seed: int = 0,
    start: Bundle | None = None,
) -> Bundle:
    """Fit a teacher to `photos` and write its bundle to `output`.

    A method of `TRAINED` begins with the weights of the teacher `start`, if one is given (`attar.train.warm_start`).

    What was interrupted continues from files beside `output` (`attar.teachers.context`); they go when the bundle is
    written.
    """
    views = views or ViewPolicy()
    if spec.balance != "none" and spec.method not in ("finetune", "lora"):
        raise InputError(f"teacher.balance: {spec.balance} is for training. Set teacher.method to finetune or lora.")
    start = start if spec.method in TRAINED else None
    agree_on(photos, seed, recipe=spec.model_dump(), views=views.to_json(), start=start and start.fingerprint)
    torch.manual_seed(seed)
    output = Path(output)
    context = FitContext(photos, spec, views, seed, output, start)
    fitted = METHODS[spec.method](context)
    with distributed.first_alone() as writes:
        if writes:
            _save(context, fitted, {"continued_from": about(start)} if start else {})
            discard(context.checkpoint)
            remove(context.features)
    return read_bundle(output, "teacher")


def keep(
    photos: Photos,
    spec: TeachSpec,
    output: Path | str,
    start: Bundle,
    *,
    views: ViewPolicy | None = None,
    seed: int = 0,
) -> Bundle:
    """Write an earlier teacher to `output` as it is, measured on `photos`.

    Raises:
        InputError: the photos have other classes than the teacher.
    """
    if start.labels != photos.labels:
        raise InputError(f"{start.path}: knows other classes than the photos have, so it is fitted anew, not kept.")
    context = FitContext(photos, spec, views or ViewPolicy(), seed, Path(output), start)
    with distributed.first_alone() as writes:
        if writes:
            _save(context, Fitted(load(start), [], steps=start.metrics.get("steps")), {"kept": about(start)})
    return read_bundle(Path(output), "teacher")


def _save(context: FitContext, fitted: Fitted, more: Mapping[str, Any]) -> None:
    """Evaluate a teacher and write its bundle."""
    photos, teacher = context.photos, fitted.teacher
    preprocessing = preprocessing_of(teacher)
    sample = fitted.sample or TrainingSample(photos, preprocessing)
    metrics = evaluate(teacher.to(torch_device()), photos, preprocessing, "Evaluating the teacher", sample)
    metrics |= {} if fitted.steps is None else {"steps": fitted.steps}
    teacher.cpu().eval()
    save(
        teacher,
        context.output,
        labels=photos.labels,
        metrics={**metrics, "history": fitted.history},
        provenance=provenance(
            photos,
            context.seed,
            {"teacher": context.spec.model_dump(), "views": context.views.to_json()},
            **fitted.about,
            **more,
        ),
    )
