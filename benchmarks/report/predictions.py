"""What a model answers on the validation photos, computed once and kept.

Of each photo the most probable classes are kept, not all: with 100,000 photos and 10,000 classes, every model's
probabilities would be 4 GB. Answers are stored by the identity of everything they depend on (model, photos,
preprocessing, the program that ran it), so a report made again only reads them, and nothing stale can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.errors import InputError
from attar.files import digest_of, refuses_writing, replacing

FOLDER = "predictions-cache"
"""Name of the store in an output folder; it can be deleted at any time."""

KEPT = 5
"""Classes kept per photo: what top-5 needs."""


@dataclass(frozen=True)
class Answers:
    """The most probable classes of each photo, the most probable one first, equals in the labels' order.

    Attributes:
        classes: their numbers, int32 (images, k), k = `KEPT` or all classes if there are fewer.
        probabilities: float32 (images, k).
    """

    classes: np.ndarray
    probabilities: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The most probable class of each photo, int64 (images,)."""
        return self.classes[:, 0].astype(np.int64)

    @property
    def confidence(self) -> np.ndarray:
        """Its probability, float32 (images,)."""
        return self.probabilities[:, 0]

    def places(self, labels: np.ndarray) -> np.ndarray:
        """Where each photo's label stands in its row, int64 (images,); -1 if it is not among the kept.

        `attar.metrics` computes the same of these places and the kept probabilities as of labels and all probabilities.
        """
        among = self.classes == labels[:, None]
        return np.where(among.any(1), among.argmax(1), -1)


def most_probable(batches: Iterable[np.ndarray]) -> Answers:
    """The answers in batches of probabilities, float (n, classes), one batch at a time."""
    parts = [_most_probable(np.asarray(batch, dtype=np.float32)) for batch in batches]
    return Answers(*(np.concatenate(arrays) for arrays in zip(*parts)))


def _most_probable(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Five times the largest is faster than sorting ten thousand, and argmax takes the first of equals."""
    left, rows = probabilities.copy(), np.arange(len(probabilities))
    places = []
    for _ in range(min(KEPT, probabilities.shape[1])):
        places.append(left.argmax(1))
        left[rows, places[-1]] = -np.inf
    classes = np.stack(places, 1)
    return classes.astype(np.int32), np.take_along_axis(probabilities, classes, 1)


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
        path = self.folder / f"{digest_of([identity, KEPT])[:32]}.npz"
        kept = (shape[0], min(KEPT, shape[1]))
        stored = _read(path)
        if stored is not None and stored.classes.shape == stored.probabilities.shape == kept:
            return stored
        answers = most_probable(_checked(compute(), shape[1]))
        if answers.classes.shape != kept:
            raise ValueError(f"answers of shape {answers.classes.shape} where {kept} was expected")
        try:
            with replacing(path) as temporary, temporary.open("wb") as stream:
                np.savez_compressed(stream, classes=answers.classes, probabilities=answers.probabilities)
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
            return Answers(archive["classes"], archive["probabilities"])
    except Exception:  # zipfile, zlib, OSError, KeyError, ValueError: whatever a cut or edited archive raises
        return None
