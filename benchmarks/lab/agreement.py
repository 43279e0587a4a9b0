"""Whether a browser computed what the file computed where it was verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Expected = Mapping[str, np.ndarray]
"""By file: probabilities, N photos x classes."""

TOLERANCE = 0.02
"""Largest difference of one probability: a few of an integer file's steps of 1/256."""
COSINE = 0.99
"""Least cosine of one photo's answers: with thousands of classes every probability is small, and so is its error."""


def judge(answers: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Compare answers (N x classes, NaN where the browser gave no number) with the expected ones.

    Returns `images`; `max_error`, the largest difference of a probability, None where an answer is not finite; `top1`,
    the share of photos with the same first class; `agrees`, the verdict.
    """
    top1 = float(np.mean(_first(answers) == expected.argmax(axis=1)))
    if not np.isfinite(answers).all():
        return {"images": len(expected), "max_error": None, "top1": top1, "agrees": False}
    error = float(np.abs(answers - expected).max())
    return {
        "images": len(expected),
        "max_error": error,
        "top1": top1,
        "agrees": bool(error <= TOLERANCE and _cosine(answers, expected).min() >= COSINE),
    }


def _first(answers: np.ndarray) -> np.ndarray:
    finite = np.isfinite(answers).all(axis=1)
    return np.where(finite, np.nan_to_num(answers).argmax(axis=1), -1)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row; 0 where a row is all zeros. Scaled first, so that huge numbers do not overflow."""
    a = a / np.maximum(np.abs(a).max(axis=1, keepdims=True), 1e-300)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-300)
