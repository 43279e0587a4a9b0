"""What a model answers on the validation photos, computed once and kept.

Answers are stored by the identity of everything they depend on (model, photos,
preprocessing, the program that ran it), so a report made again only reads them, and nothing stale can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from attar.answers import KEPT, Answers, most_probable
from attar.errors import InputError
from attar.files import digest_of, refuses_writing, replacing
from attar.temperature import TEMPERATURES

FOLDER = "predictions-cache"
"""Name of the store in an output folder; it can be deleted at any time."""


class Predictions:
    """A store of answers in `folder`; where that is read-only, nothing new is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, identity: list[Any], shape: tuple[int, int], compute: Callable[[], Iterable[np.ndarray]]) -> Answers:
        """The stored answers of `identity`, or those in the batches of probabilities that `compute` gives.

        Args:
            identity: plain data that names everything the answers depend on.
            shape: images and classes.
            compute: gives float32 probabilities (n, classes) of all images, in order.
        """
        path = self.folder / f"{digest_of([identity, KEPT, len(TEMPERATURES)])[:32]}.npz"
        kept = (shape[0], min(KEPT, shape[1]))
        stored = _read(path)
        if stored is not None and stored.classes.shape == stored.probabilities.shape == kept:
            return stored
        answers = most_probable(_checked(compute(), shape[1]), sums=True)
        if answers.classes.shape != kept:
            raise ValueError(f"answers of shape {answers.classes.shape} where {kept} was expected")
        try:
            with replacing(path) as temporary, temporary.open("wb") as stream:
                np.savez_compressed(stream, **vars(answers))
        except InputError as error:
            if not refuses_writing(error):
                raise  # in a read-only copy of a run they are computed anew each time
        return answers


def _checked(batches: Iterable[np.ndarray], classes: int) -> Iterable[np.ndarray]:
    for batch in batches:
        if batch.ndim != 2 or batch.shape[1] != classes:
            raise ValueError(f"probabilities of shape {batch.shape} where {classes} classes were expected")
        yield batch


def _read(path: Path) -> Answers | None:
    """The stored answers; None when there are none or they are damaged, which only costs computing them again."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Answers(archive["classes"], archive["probabilities"], archive["sums"])
    except Exception:  # zipfile, zlib, OSError, KeyError, ValueError: whatever a cut or edited archive raises
        return None
