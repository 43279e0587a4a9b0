"""How good a torch model is on the validation photos, and on those that it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from torch import nn

from attar.answers import most_probable
from attar.data.photos import Photos, labels_of, load_pixels
from attar.data.pixels import Pixels
from attar.inference import predict_batches
from attar.metrics import bootstrap_interval, expected_calibration_error
from attar.preprocessing import Preprocessing
from attar.readiness import majority
from attar.sampling import spread
from attar.temperature import calibrate
from attar.train import batchnorm, distributed

SAMPLE = 1024
"""Training photos in a `TrainingSample`, at most: a bounded cost, whatever the number of photos."""

T = TypeVar("T")


class TrainingSample:
    """Some training photos as evaluation crops them, decoded when they are first needed.

    They give batch norms their statistics, and tell how well a model knows what it was trained on.
    """

    def __init__(self, photos: Photos, preprocessing: Preprocessing) -> None:
        self._photos, self._preprocessing = spread(photos.train, SAMPLE), preprocessing

    @cached_property
    def pixels(self) -> np.ndarray:
        """uint8 (photos, size, size, 3)."""
        return load_pixels(self._photos, self._preprocessing, "Reading training photos")

    @property
    def labels(self) -> np.ndarray:
        """Class indices, int64 (photos,)."""
        return labels_of(self._photos)

    def remeasure(self, model: nn.Module) -> None:
        """Give a model's batch norms, if it has any, the statistics of these photos."""
        if batchnorm.norms_of(model):
            batchnorm.remeasure(model, self.pixels)


def evaluate(
    model: nn.Module,
    photos: Photos,
    preprocessing: Preprocessing,
    title: str,
    sample: TrainingSample | None = None,
    *,
    calibrated: bool = False,
) -> dict[str, Any]:
    """Top-1 with its 95% interval and calibration error, as plain data for a bundle's metrics.

    Beside them stand the commonest class and its share of the validation photos, which is what answering it always
    would reach, with `sample` the top-1 on training photos, and with `calibrated` the temperature that its logits want
    (`attar.temperature.Calibration`).
    """
    pixels = Pixels(photos.val, preprocessing, f"{title}: reading photos")
    labels = labels_of(photos.val)
    answers = most_probable(predict_batches(model, pixels, title=title), sums=calibrated)
    places = answers.places(labels)
    right = (places == 0).astype(float)
    low, high = bootstrap_interval(right)
    metrics = {
        "images": len(labels),
        "top1": float(right.mean()),
        "top1_interval": [low, high],
        "ece": expected_calibration_error(answers.probabilities, places),
        "majority": majority([photos.labels[label] for label in labels]),
    }
    if answers.sums is not None:
        metrics["calibration"] = calibrate(answers.confidence, answers.sums, places == 0).to_json()
    if sample is not None:
        known = most_probable(predict_batches(model, sample.pixels, title=f"{title} on training photos")).best
        metrics |= {"train_images": len(known), "train_top1": float((known == sample.labels).mean())}
    return metrics


def validator(photos: Photos, preprocessing: Preprocessing, select: str) -> Callable[[nn.Module], float] | None:
    """For `select: best`, a function from a model to its top-1 on the validation photos, kept decoded where few."""
    if select != "best" or not distributed.is_first():
        return None
    pixels = Pixels(photos.val, preprocessing, "Reading the validation photos")
    labels = labels_of(photos.val)
    return lambda model: float((most_probable(predict_batches(model, pixels)).best == labels).mean())
