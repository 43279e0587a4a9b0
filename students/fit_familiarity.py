"""Fitting a student's familiarity to its photos."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attar import __version__
from attar.bundle import Bundle, as_bundle, read_bundle
from attar.console import say
from attar.data.photos import Photos, labels_of
from attar.data.pixels import Images, Pixels
from attar.errors import InputError, did_you_mean
from attar.inference import to_tensor, torch_device
from attar.preprocessing import Preprocessing
from attar.sampling import spread
from attar.students import create
from attar.students.familiarity import SCORES, Familiarity, Known, score_name
from attar.students.student import Student

TRAINING = 2000
"""Training photos that a score is fitted on at least, where there are so many."""
EACH = 5
"""Photos per class, on average, at least."""
VALIDATION = 1000
"""Validation photos that the scale is fitted on, at most."""
_BATCH = 64


def check_score(name: str, asked_by: str = "student.familiarity") -> None:
    """Raise `InputError`, with close matches, unless there is a score of that name; `asked_by` is what gave it."""
    known = ("default", *SCORES)
    if name not in known:
        raise InputError(f"{asked_by}: {name!r} is no score ({', '.join(known)}).{did_you_mean(name, known)}")


def give_familiarity(bundle: Bundle | Path | str, name: str, photos: Photos, output: Path | str) -> Bundle:
    """A student that is trained already with a familiarity, as a bundle of its own; its answers stay the same.

    What is there already, made of the same student with the same score, is taken as it is.

    Args:
        bundle: the student, which stays as it is.
        name: of the score, in `SCORES`, or `default`.
        photos: those that the student was made from.
        output: folder of the new bundle.

    Raises:
        InputError: an unknown score, a student that has a familiarity, other photos, or something else at `output`.
    """
    bundle, output = as_bundle(bundle, "student"), Path(output)
    check_may_get(bundle, name)
    name = score_name(name)
    _refuse_others(bundle, photos)
    made: dict[str, Any] = {"score": name, "of": bundle.fingerprint}
    if (output / "bundle.json").is_file():
        return _made_before(output, made)
    student = create.load(bundle).to(torch_device())
    student.familiarity = fit_familiarity(student, name, photos, bundle.preprocessing)
    made |= {"photos": photos.fingerprint, "attar": __version__, "command": shlex.join(sys.argv)}
    say(f"{output}: the student with a familiarity ({name}), fitted to its training photos.")
    return create.save(
        student.cpu(),
        output,
        labels=bundle.labels,
        preprocessing=bundle.preprocessing,
        metrics=bundle.metrics,
        provenance={**bundle.provenance, "familiarity": made},
    )


def check_may_get(bundle: Bundle, name: str) -> None:
    """Raise `InputError` for an unknown score, or a student that has a familiarity."""
    check_score(name, "--familiarity")
    if has := bundle.architecture.get("familiarity"):
        raise InputError(
            f"{bundle.path}: has a familiarity already ({has}). Leave --familiarity out, or give a student without one."
        )


def _refuse_others(bundle: Bundle, photos: Photos) -> None:
    """Refuse photos that a student was not trained on."""
    made_from = (bundle.provenance.get("data") or {}).get("fingerprint", photos.fingerprint)
    if made_from != photos.fingerprint or bundle.labels != photos.labels:
        raise InputError(
            f"{photos.spec.path}: other photos than {bundle.path} was made from, and its familiarity is fitted to "
            "those. Give --data the photos as they were."
        )


def _made_before(output: Path, made: dict[str, Any]) -> Bundle:
    """The bundle at `output`, if it is what `made` says."""
    bundle = read_bundle(output)
    before = bundle.provenance.get("familiarity") or {}
    if {key: before.get(key) for key in made} != made:
        raise InputError(f"{output}: holds another model. Remove it, or rename it.")
    return bundle


def fit_familiarity(student: Student, name: str, photos: Photos, how: Preprocessing) -> Familiarity:
    """The familiarity of a student, by a score of `SCORES`; the student stays as it is.

    Args:
        student: on any device, trained, with its calibrated classifier.
        name: of the score, in `SCORES`, or `default`.
        photos: the student's; the score is fitted on training ones, its scale on validation ones.
        how: preprocessing of the student.
    """
    check_score(name)
    chosen = spread(photos.train, max(TRAINING, EACH * len(photos.labels)))
    weight, bias = classifier_of(student)
    seen = batches(student, Pixels(chosen, how, "Reading training photos"))
    parts = [(logits.amax(1), pooled) for logits, pooled in seen]
    largest, pooled = (torch.cat(each) for each in zip(*parts))
    known = Known(largest, pooled, torch.from_numpy(labels_of(chosen)), weight, bias)
    own = Pixels(spread(photos.val, VALIDATION), how, "Reading validation photos")
    return Familiarity.fitted(score_name(name), known, batches(student, own))


def features(student: Student, pixels: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and pooled features of uint8 images (N, S, S, 3), on the CPU."""
    logits, pooled = (torch.cat(each) for each in zip(*batches(student, pixels)))
    return logits, pooled


@torch.no_grad()
def batches(student: Student, pixels: Images) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits and pooled features of uint8 images (N, S, S, 3), on the CPU, of a few at a time.

    Of ten thousand classes, the logits of all photos would be gigabytes.
    """
    where = next(student.parameters()).device
    was_training = student.training
    student.eval()
    try:
        for start in range(0, len(pixels), _BATCH):
            outputs = student.outputs(to_tensor(pixels[start : start + _BATCH]).to(where))
            yield outputs["logits"].float().cpu(), outputs["pooled"].float().cpu()
    finally:
        student.train(was_training)


def familiarity_of(student: Student, pixels: Images) -> np.ndarray:
    """Familiarity of uint8 images (N, S, S, 3) to a student that has one, float32 (N,)."""
    assert student.familiarity is not None
    familiarity = student.familiarity.cpu()
    parts = [familiarity(logits, pooled).flatten() for logits, pooled in batches(student, pixels)]
    values: np.ndarray = torch.cat(parts).detach().numpy()
    return values


def classifier_of(student: Student) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (classes, D) and bias (classes,) of a student's last linear layer, on the CPU; the mean of two."""
    layers = student.classifiers()
    weights = torch.stack([layer.weight.detach().cpu() for layer in layers]).mean(0)
    biases = [torch.zeros(len(weights)) if layer.bias is None else layer.bias.detach().cpu() for layer in layers]
    return weights, torch.stack(biases).mean(0)
