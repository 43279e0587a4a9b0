"""Fitting a student's familiarity to its photos."""

from __future__ import annotations

import numpy as np
import torch

from attar.data.photos import Photos, labels_of, load_pixels
from attar.errors import InputError, did_you_mean
from attar.inference import to_tensor
from attar.preprocessing import Preprocessing
from attar.sampling import spread
from attar.students.familiarity import SCORES, Familiarity, Known
from attar.students.student import Student

TRAINING = 2000
"""Training photos that a score is fitted on at least, where there are so many."""
EACH = 5
"""Photos per class, on average, at least."""
VALIDATION = 1000
"""Validation photos that the scale is fitted on, at most."""
_BATCH = 64


def check_score(name: str) -> None:
    """Raise `InputError`, with close matches, unless there is a score of that name."""
    if name not in SCORES:
        raise InputError(
            f"student.familiarity: {name!r} is no score ({', '.join(SCORES)}).{did_you_mean(name, SCORES)}"
        )


def fit_familiarity(student: Student, name: str, photos: Photos, how: Preprocessing) -> Familiarity:
    """The familiarity of a student, by a score of `SCORES`; the student stays as it is.

    Args:
        student: on any device, trained, with its calibrated classifier.
        name: of the score.
        photos: the student's; the score is fitted on training ones, its scale on validation ones.
        how: preprocessing of the student.
    """
    check_score(name)
    chosen = spread(photos.train, max(TRAINING, EACH * len(photos.labels)))
    weight, bias = classifier_of(student)
    logits, pooled = features(student, load_pixels(chosen, how, "Reading training photos"))
    known = Known(logits, pooled, torch.from_numpy(labels_of(chosen)), weight, bias)
    own = spread(photos.val, VALIDATION)
    return Familiarity.fitted(name, known, *features(student, load_pixels(own, how, "Reading validation photos")))


@torch.no_grad()
def features(student: Student, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and pooled features of uint8 images (N, S, S, 3), on the CPU."""
    where = next(student.parameters()).device
    was_training = student.training
    student.eval()
    parts = [student.outputs(to_tensor(pixels[s : s + _BATCH]).to(where)) for s in range(0, len(pixels), _BATCH)]
    student.train(was_training)
    logits, pooled = (torch.cat([part[name].float().cpu() for part in parts]) for name in ("logits", "pooled"))
    return logits, pooled


def familiarity_of(student: Student, pixels: np.ndarray) -> np.ndarray:
    """Familiarity of uint8 images (N, S, S, 3) to a student that has one, float32 (N,)."""
    assert student.familiarity is not None
    with torch.no_grad():
        values: np.ndarray = student.familiarity.cpu()(*features(student, pixels)).flatten().numpy()
    return values


def classifier_of(student: Student) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (classes, D) and bias (classes,) of a student's last linear layer, on the CPU; the mean of two."""
    layers = student.classifiers()
    weights = torch.stack([layer.weight.detach().cpu() for layer in layers]).mean(0)
    biases = [torch.zeros(len(weights)) if layer.bias is None else layer.bias.detach().cpu() for layer in layers]
    return weights, torch.stack(biases).mean(0)
