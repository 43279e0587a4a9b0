"""A file run in a process of its own, by another evaluator or on another processor.

So a library that crashes, or that cannot live beside another one, ends nothing but its own process.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attar.errors import GateError
from attar.export.formats import Tolerance
from attar.files import save_array

SECONDS_PER_IMAGE = 30
"""Patience: emulated or reference kernels take about a second for an image of 224 pixels."""


class SubprocessRunner:
    """A file, ready to be run by a script in another process; see `attar.export.runners.Evaluator`.

    Args:
        path: the file.
        evaluator: what computes it, with its version.
        command: a Python and a script. It is called with the file, a .npy of the images, where to write a .npy of the
            answers, and `arguments`.
        arguments: of the script.
        environment: variables of the process.
        tolerance: what its arithmetic alone may change, where that may be more than the file's own limits.
    """

    def __init__(
        self,
        path: Path,
        evaluator: str,
        command: Sequence[str],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        tolerance: Tolerance | None = None,
    ) -> None:
        self.evaluator, self.tolerance = evaluator, tolerance
        self._path, self._command, self._arguments, self._environment = path, command, arguments, environment

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 (N, classes), and a column of familiarity if the file gives it."""
        with tempfile.TemporaryDirectory() as folder:
            images, answers = Path(folder) / "images.npy", Path(folder) / "answers.npy"
            save_array(images, pixels)
            words = [str(self._path.resolve()), str(images), str(answers), *self._arguments]
            limit = 120 + SECONDS_PER_IMAGE * len(pixels)
            run([*self._command, *words], self._environment, limit)
            return np.asarray(np.load(answers), np.float32)


def run(command: Sequence[str], environment: Mapping[str, str], seconds: float, folder: Path | None = None) -> None:
    """Run a command to its end, in a folder.

    Raises:
        GateError: it failed, or did not end in time; the text has the end of what it said.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(environment),
            timeout=seconds,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        raise GateError(f"no answer after {seconds:g} seconds") from None
    if done.returncode != 0:
        raise GateError(f"it ended with exit code {done.returncode}\n{done.stderr[-2000:].strip()}")
