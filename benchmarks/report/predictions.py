"""What a model answers on the validation photos, computed once and kept.

Answers are stored by the identity of everything they depend on (model, photos, preprocessing, the
program that ran it), so a report made again only reads them, and nothing stale can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from attar.errors import InputError
from attar.files import digest_of, refuses_writing, replacing

FOLDER = "predictions-cache"
"""Name of the store in an output folder; it can be deleted at any time."""


class Predictions:
    """A store of probabilities in `folder`; where that is read-only, nothing new is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, identity: list[Any], shape: tuple[int, int], compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The stored float32 probabilities (images, classes) of `identity`, or those that `compute` gives."""
        path = self.folder / f"{digest_of(identity)[:32]}.npz"
        stored = _read(path)
        if stored is not None and stored.shape == shape:
            return stored
        probabilities = np.asarray(compute(), dtype=np.float32)
        if probabilities.shape != shape:
            raise ValueError(f"{probabilities.shape} probabilities where {shape} were expected")
        try:
            with replacing(path) as temporary, temporary.open("wb") as stream:
                np.savez_compressed(stream, probabilities=probabilities)
        except InputError as error:
            if not refuses_writing(error):
                raise  # in a read-only copy of a run they are computed anew each time
        return probabilities


def _read(path: Path) -> np.ndarray | None:
    """The stored array; None when there is none or it is damaged, which only costs computing it again."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["probabilities"]
    except Exception:  # zipfile, zlib, OSError, KeyError, ValueError: whatever a cut or edited archive raises
        return None
