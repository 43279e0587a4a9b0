"""The pixels of many photos: kept where they are few, decoded a part at a time where memory could not hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from attar.data.photos import Photo, load_pixels
from attar.preprocessing import Preprocessing

KEPT = 2**30
"""Bytes of pixels that are kept, at most: 7,000 photos of 224 pixels."""


class Images(Protocol):
    """uint8 images (N, H, W, 3): an array, or what gives a slice of one (`Pixels`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


class Pixels:
    """uint8 images (N, size, size, 3) of photos, for those that take a slice of them at a time.

    All are decoded at the first slice and kept, if they take at most `KEPT` bytes. Else each slice is decoded when it
    is asked for, and again when it is asked for again.
    """

    def __init__(self, photos: Sequence[Photo], preprocessing: Preprocessing, title: str | None = None) -> None:
        """Take photos whose `title` is shown while all are decoded, if they are."""
        self._photos, self._preprocessing, self._title = photos, preprocessing, title
        self._keeps = len(photos) * preprocessing.size**2 * 3 <= KEPT
        self._kept: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, part: slice) -> np.ndarray:
        """Raises: InputError: a photo was changed since it was checked."""
        if not self._keeps:
            return load_pixels(self._photos[part], self._preprocessing)
        if self._kept is None:
            self._kept = load_pixels(self._photos, self._preprocessing, self._title)
        return self._kept[part]
