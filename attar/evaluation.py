"""How good a torch model is on the validation photos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from attar import ranks
from attar.data import Photos, labels_of, load_pixels
from attar.inference import predict
from attar.metrics import bootstrap_interval, correct, expected_calibration_error
from attar.preprocessing import Preprocessing


def evaluate(model: nn.Module, photos: Photos, preprocessing: Preprocessing, title: str) -> dict[str, Any]:
    """Top-1 with its 95% interval and calibration error, as plain data for a bundle's metrics."""
    pixels = load_pixels(photos.val, preprocessing, f"{title}: reading photos")
    labels = labels_of(photos.val)
    probabilities = predict(model, pixels, title=title)
    right = correct(probabilities, labels).astype(float)
    low, high = bootstrap_interval(right)
    return {
        "images": len(labels),
        "top1": float(right.mean()),
        "top1_interval": [low, high],
        "ece": expected_calibration_error(probabilities, labels),
    }


def validator(photos: Photos, preprocessing: Preprocessing, select: str) -> Callable[[nn.Module], float] | None:
    """For `select: best`, a function from a model to its top-1 on the validation photos, which it keeps decoded."""
    if select != "best" or not ranks.is_first():
        return None
    pixels = load_pixels(photos.val, preprocessing, "Reading the validation photos")
    labels = labels_of(photos.val)
    return lambda model: float((predict(model, pixels).argmax(1) == labels).mean())
