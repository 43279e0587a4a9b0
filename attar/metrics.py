"""Accuracy, agreement and calibration of class probabilities, and paired bootstrap intervals.

Everywhere: `probabilities` is a float array (images, classes) whose rows sum to one; `labels` is an
int array (images,). Shares are in [0, 1]; tables multiply by 100.
"""

from __future__ import annotations

import numpy as np


def correct(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """Per image, whether the label is among the k most probable classes -> bool (images,).

    Ties count as numpy's stable sort ranks them: the lower class index first, as argmax does.
    """
    if k == 1:
        return probabilities.argmax(axis=1) == labels
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return (top == labels[:, None]).any(axis=1)


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Share of images whose label is among the k most probable classes."""
    return float(correct(probabilities, labels, k).mean())


def agreement(probabilities: np.ndarray, reference: np.ndarray) -> float:
    """Share of images on which both models' most probable class is the same."""
    return float((probabilities.argmax(axis=1) == reference.argmax(axis=1)).mean())


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al., arXiv 1706.04599, eq. 3)."""
    confidence = probabilities.max(axis=1)
    right = correct(probabilities, labels).astype(np.float64)
    # Bin b holds confidences in (b/bins, (b+1)/bins].
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = 0.0
    for b in np.unique(bin_of):
        inside = bin_of == b
        gap += float(inside.mean() * abs(right[inside].mean() - confidence[inside].mean()))
    return gap


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images (Efron and Tibshirani 1993, chapter 13).

    For a *paired* comparison of two models pass the per-image difference, such as
    `correct(a, labels).astype(float) - correct(b, labels)`: both are then resampled together.
    """
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 64:
        # Correctness takes few values: drawing how often each comes up is the same resampling, much faster.
        draws = rng.multinomial(len(values), counts / len(values), size=resamples)
        means = draws @ distinct / len(values)
    else:
        means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
