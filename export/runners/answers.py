"""What a file answers: probabilities, and in one more column how familiar the photo is, where the file says so."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

PROBABILITIES, FAMILIARITY = "probabilities", "familiarity"
"""Names of the outputs in files, in this order."""


class _Labelled(Protocol):
    @property
    def labels(self) -> tuple[str, ...]: ...

    def answers(self, pixels: np.ndarray) -> np.ndarray: ...


class WithAnswers:
    """A runner's `predict`, from its `labels` and its `answers`: uint8 images (N, H, W, 3) -> float32 (N, classes), and
    one more column of familiarity if the file gives it."""

    def predict(self: _Labelled, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 probabilities (N, classes)."""
        return self.answers(pixels)[:, : len(self.labels)]


def answers_of(runner: Any, pixels: np.ndarray) -> np.ndarray:
    """What a runner answers; one of another package may have `predict` alone, as it gives no familiarity."""
    answer = getattr(runner, "answers", None) or runner.predict
    answers: np.ndarray = answer(pixels)
    return answers


def split(answers: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Probabilities (N, classes), and familiarity (N,) or None."""
    return answers[:, :classes], answers[:, classes] if answers.shape[1] == classes + 1 else None


def joined(outputs: tuple[np.ndarray, ...] | list[np.ndarray]) -> np.ndarray:
    """A file's outputs, (N, classes) and perhaps (N, 1), as one array."""
    return np.concatenate([np.asarray(each, np.float32) for each in outputs], axis=1)
