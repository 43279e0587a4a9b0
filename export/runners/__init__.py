"""Running an exported file on images, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from attar.errors import InputError
from attar.export.formats import FORMATS, format_of


class Evaluator(Protocol):
    """Something that computes an exported file."""

    @property
    def evaluator(self) -> str:
        """What computes it, with its version."""
        ...

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 (N, classes), and a column of familiarity if the file gives it."""


class Session(Protocol):
    """A loaded file that runs one image at a time, so that each step can be timed alone."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the uint8 input, batch first, with a batch of one."""
        ...

    def set_input(self, image: np.ndarray) -> None:
        """Put one uint8 batch of `shape` where the next inference reads it; not timed."""
        ...

    def infer(self) -> None:
        """Run one inference: the only call that is timed."""
        ...

    def close(self) -> None:
        """Let go of the model's memory."""
        ...


class Runner(Evaluator, Protocol):
    """An exported file, loaded. What it says of itself is read when it is asked for, so that loading can be timed.

    A format whose files are timed on this machine gives a runner that is a `Session` too.
    `attar.export.runners.answers` has `predict`, and what `answers` takes.
    """

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 probabilities (N, classes)."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names inside the file, in the order of its outputs."""
        ...

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How a photo becomes its input, as `attar.preprocessing.Preprocessing.to_json` says it; empty if it does not
        say."""
        ...

    @property
    def signature(self) -> dict[str, Any]:
        """`{"input": {"name", "shape", "dtype"}, "output": {...}}`, and `familiarity` if the file gives it."""
        ...

    @property
    def partitions(self) -> dict[str, Any] | None:
        """LiteRT only: `{"delegated": number of XNNPACK partitions, "outside": [operators left out]}`."""
        ...


def open_runner(path: Path | str, threads: int = 1) -> Runner:
    """Load an exported file by its suffix.

    Raises:
        InputError: a suffix of no known format, or a file that does not load.
    """
    import importlib

    path = Path(path)
    form = format_of(path)
    if form is None:
        raise InputError(f"{path}: not an exported file ({', '.join('.' + form.suffix for form in FORMATS.values())}).")
    runner: Runner = importlib.import_module(form.module).open_runner(path, threads)
    return runner
