"""Running an exported file on images, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from attar.errors import InputError
from attar.export.formats import FORMATS


class Evaluator(Protocol):
    """Something that computes an exported file.

    Attributes:
        evaluator: what computes it, with its version.
    """

    evaluator: str

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 probabilities (N, classes)."""


class Runner(Evaluator, Protocol):
    """An exported file, loaded.

    Attributes:
        labels: the class names inside the file, in the order of its outputs.
        preprocessing: how a photo becomes its input, as `attar.preprocessing.Preprocessing.to_json` says it; empty if
            the file does not say.
        signature: `{"input": {"name", "shape", "dtype"}, "output": {...}}`.
        partitions: LiteRT only: `{"delegated": number of XNNPACK partitions, "outside": [operators left out]}`.
    """

    labels: tuple[str, ...]
    preprocessing: dict[str, Any]
    signature: dict[str, Any]
    partitions: dict[str, Any] | None


def open_runner(path: Path | str, threads: int = 1) -> Runner:
    """Load an exported file by its suffix.

    Raises:
        InputError: a suffix of no known format, or a file that does not load.
    """
    import importlib

    path = Path(path)
    for form in FORMATS.values():
        if path.suffix == f".{form.suffix}":
            runner: Runner = importlib.import_module(form.module).open_runner(path, threads)
            return runner
    raise InputError(f"{path}: not an exported file ({', '.join('.' + form.suffix for form in FORMATS.values())}).")
