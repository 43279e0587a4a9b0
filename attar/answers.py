"""What a model answers on many photos: of each the most probable classes.

Not all classes: with 100,000 photos and 10,000 classes, one model's probabilities would be 4 GB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from attar.temperature import log_sums

KEPT = 5
"""Classes kept per photo: as many as top-5 needs."""


@dataclass(frozen=True)
class Answers:
    """The most probable classes of each photo, the most probable one first, equals in the labels' order.

    Attributes:
        classes: their numbers, int32 (images, k), k = `KEPT` or all classes if there are fewer.
        probabilities: float32 (images, k).
        sums: `attar.temperature.log_sums` of all classes, if they were asked for.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    sums: np.ndarray | None = None

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


def most_probable(batches: Iterable[np.ndarray], *, sums: bool = False) -> Answers:
    """The answers in batches of probabilities, float (n, classes), one batch at a time; with `sums`, those as well."""
    parts = []
    for batch in batches:
        probabilities = np.asarray(batch, dtype=np.float32)
        parts.append((*_most_probable(probabilities), *([log_sums(probabilities)] if sums else [])))
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
