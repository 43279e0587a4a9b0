"""A linear probe: the network stays as it is, and its classifier is solved on its features.

The network runs once for each training photo, on the centre crop that evaluation takes. Then logistic regression on
standardized features, as CLIP's linear probes are done (Radford et al., arXiv 2103.00020, appendix A.3): the strength
of its L2 penalty is chosen on a part of the training photos held out for that, by their cross-entropy, because a
student is to learn from the probabilities; then the classifier is solved on all of them. Validation photos choose
nothing. Good for up to some 100,000 photos, since all their features are in memory at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from attar.console import track
from attar.data.photos import Photo, labels_of, load_pixels
from attar.errors import InputError
from attar.files import save_array
from attar.inference import fast_bf16, to_tensor, torch_device
from attar.teachers.context import FitContext, Fitted
from attar.teachers.create import preprocessing_of
from attar.teachers.teacher import Teacher
from attar.train import distributed

STRENGTHS = tuple(10.0**-power for power in range(-1, 7))
"""Of the L2 penalty, for a mean over photos of the cross-entropy, in the order in which they are tried."""

HELD_OUT = 5
"""One training photo of so many, in each class, is held out to choose the strength."""

_CHUNK = 512
"""Photos whose features make a file: what an interruption may cost."""


def probe(context: FitContext) -> Fitted:
    """Solve the classifier of the recipe's teacher, in the first rank."""
    teacher = context.create()
    classifier = teacher.network.get_classifier()  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear):
        raise InputError(f"teacher {teacher.architecture['name']!r}: has no linear classifier to probe. Use finetune.")
    about: dict[str, Any] = {}
    with distributed.first_alone() as works:
        if works:
            features = features_of(teacher, context.photos.train, context.features)
            weight, bias, about = solve(features, labels_of(context.photos.train))
            with torch.no_grad():
                classifier.weight.copy_(torch.from_numpy(weight))
                classifier.bias.copy_(torch.from_numpy(bias))
    return Fitted(teacher, about={"probe": about})


@torch.inference_mode()
def features_of(teacher: Teacher, photos: Sequence[Photo], folder: Path) -> np.ndarray:
    """What the classifier sees of each photo, float32 (photos, D); files of it are kept in `folder`."""
    teacher.to(torch_device()).eval()
    preprocessing = preprocessing_of(teacher)
    parts = []
    starts = range(0, len(photos), _CHUNK)
    for start in track(starts, "Teacher's features", len(starts)):
        place = folder / f"{start:09d}.npy"
        if not place.is_file():
            pixels = load_pixels(photos[start : start + _CHUNK], preprocessing)
            with torch.autocast(torch_device().type, torch.bfloat16, enabled=fast_bf16()):
                batches = [teacher.features(batch.to(torch_device())).float() for batch in to_tensor(pixels).split(32)]
            save_array(place, torch.cat(batches).cpu().numpy())
        parts.append(np.load(place, allow_pickle=False))
    return np.concatenate(parts)


def solve(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Logistic regression on features as they are, not standardized.

    Args:
        features: float (photos, D).
        labels: class indices (photos,), every class at least once.

    Returns:
        weight (classes, D), bias (classes,), and how the L2 strength was chosen.
    """
    features = features.astype(np.float64)
    mean, std = features.mean(0), features.std(0) + 1e-6
    features = (features - mean) / std
    about = _choose(features, labels)
    solved = _fitted(_regression(), features, labels, about["l2"])
    weight, bias = solved.coef_, solved.intercept_
    if len(weight) == 1:  # two classes: one logit, split over both
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / std
    return weight, bias - weight @ mean, about


def held_out(labels: np.ndarray) -> np.ndarray:
    """Which photos choose the strength, bool (photos,): a fifth of each class, and never its only photo."""
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    place = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])  # within the class
    held = np.zeros(len(labels), dtype=bool)
    held[order] = place % HELD_OUT == 1
    return held


def _choose(features: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The strength with the least cross-entropy on the photos held out: weaker ones are tried while it falls."""
    from sklearn.metrics import log_loss

    held = held_out(labels)
    about: dict[str, Any] = {"l2": 0.1, "held_out": int(held.sum()), "held_out_loss": None}
    if not held.any():  # one photo a class: nothing can be learned about the strength
        return about
    model = _regression(warm_start=True)
    for strength in STRENGTHS:
        _fitted(model, features[~held], labels[~held], strength)
        loss = float(log_loss(labels[held], model.predict_proba(features[held]), labels=model.classes_))
        if about["held_out_loss"] is not None and loss >= about["held_out_loss"]:
            break
        about |= {"l2": strength, "held_out_loss": loss}
    return about


def _regression(**options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, **options)


def _fitted(model: Any, features: np.ndarray, labels: np.ndarray, strength: float) -> Any:
    """scikit-learn's C weighs the sum of all photos' losses against the penalty."""
    from sklearn.exceptions import ConvergenceWarning

    model.set_params(C=1 / (strength * len(labels)))
    with warnings.catch_warnings():  # stopping early is a penalty too, and the photos held out judge it
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, labels)
