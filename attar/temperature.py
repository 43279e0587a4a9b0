"""Confidence that means what it says: one temperature for a model's logits (Guo et al., arXiv 1706.04599, section 4.2).

Probabilities p at temperature t are p^(1/t), normalized: what softmax makes of logits divided by t. The order of the
classes stays. A temperature is fitted to how often the most probable class is right, which is what people are shown, by
the likelihood of that (Platt scaling with one parameter). So all that is needed of a photo is the confidence at each
temperature, and whether the answer is right: with ten thousand classes, probabilities of all would be gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attar.metrics import error_of_confidence

TEMPERATURES = 2.0 ** (np.arange(-32, 33) / 16)
"""Those that are tried: a quarter to four, in steps of 4.4%."""

PRIOR = 0.5
"""Standard deviation of log temperature before a photo was seen, about one: a dozen photos, all right, say little."""

FOLDS = 5
SEED = 0
_LEAST = 1e-6
"""Of a confidence, and of a doubt: one photo does not decide alone."""


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it does to the expected calibration error.

    Attributes:
        temperature: what the logits are divided by.
        images: photos that it was fitted on.
        before: expected calibration error of the model as it is.
        after: with a temperature; that of each photo was fitted on other photos.
    """

    temperature: float
    images: int
    before: float
    after: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"temperature": self.temperature, "images": self.images, "before": self.before, "after": self.after}


def log_sums(probabilities: np.ndarray) -> np.ndarray:
    """What confidences at each temperature need of all classes: the logarithm of the sum of p^(1/t).

    Args:
        probabilities: float (images, classes).

    Returns:
        float32 (images, temperatures).
    """
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities.astype(np.float32))
    return np.stack([np.log(np.exp(logs / np.float32(t)).sum(1)) for t in TEMPERATURES], 1)


def at_temperatures(confidence: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Confidences (images,), and `log_sums` of their photos -> confidences (images, temperatures)."""
    return np.exp(np.log(confidence.astype(np.float64))[:, None] / TEMPERATURES - sums)


def fit(confidences: np.ndarray, right: np.ndarray) -> int:
    """The temperature under which it is most probable that just these answers are right.

    Args:
        confidences: of `at_temperatures`.
        right: whether each answer is, bool (images,).

    Returns:
        Its place in `TEMPERATURES`.
    """
    likelihood = _likelihood(confidences, right[:, None]).sum(0)
    return int(np.argmax(likelihood - np.log(TEMPERATURES) ** 2 / (2 * PRIOR**2)))


def cross_fitted(confidences: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Confidences (images,), each at a temperature that was fitted on other photos, in `FOLDS` folds."""
    folds = np.random.default_rng(SEED).permutation(len(right)) % FOLDS
    found = np.empty(len(right))
    for fold in range(FOLDS):
        inside = folds == fold
        found[inside] = confidences[inside, fit(confidences[~inside], right[~inside])]
    return found


def _likelihood(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Logarithm of the probability that an answer is right or wrong as it is."""
    said = np.clip(confidence, _LEAST, 1 - _LEAST)
    return np.where(right, np.log(said), np.log1p(-said))


def calibrate(confidence: np.ndarray, sums: np.ndarray, right: np.ndarray) -> Calibration:
    """Fit a temperature, and measure what it does on photos that it was not fitted on.

    It is 1 if such photos do not become more probable by one.

    Args:
        confidence: of the most probable class, float (images,).
        sums: `log_sums` of all classes.
        right: whether that class is the photo's, bool (images,).
    """
    confidences = at_temperatures(confidence, sums)
    before, cross = error_of_confidence(confidence, right), cross_fitted(confidences, right)
    if _likelihood(cross, right).sum() <= _likelihood(confidence, right).sum():
        return Calibration(1.0, len(right), before, before)
    return Calibration(
        float(TEMPERATURES[fit(confidences, right)]), len(right), before, error_of_confidence(cross, right)
    )
