"""Decoded photos in memory, for views to be drawn from."""

from __future__ import annotations

import mmap
import multiprocessing
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from attar.children import FORKS
from attar.data.images import UnreadableImage, use_rgb
from attar.data.photos import Photo, unreadable
from attar.train import distributed

STORE_BYTES = 4 << 30
"""Decoded photos are kept in memory up to this many bytes per machine; the rest are decoded at each use."""


def stored_side(size: int) -> int:
    """Shorter side of a stored photo, pixels, for views of `size` pixels: a crop of a quarter's area is still sharp."""
    return 2 * size


def shrunk(image: Image.Image, size: int) -> Image.Image:
    """An RGB photo as it is stored for views of `size` pixels; a smaller one stays as it is."""
    scale = stored_side(size) / min(image.size)
    if scale >= 1:
        return image
    target = (round(image.width * scale), round(image.height * scale))
    return image.resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)


class PhotoStore:
    """Photos, shrunk so that views of `size` pixels are still drawn from enough detail.

    A photo is decoded when it is first asked for, and kept if there is room. So a training starts at once, and the
    decoding is work of those who draw views.
    """

    def __init__(self, photos: Sequence[Photo], size: int, budget: int = STORE_BYTES) -> None:
        self._photos = photos
        self._size = size
        self._kept = Kept(len(photos), budget // distributed.local_count())

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> Image.Image:
        image = self._kept.get(index)
        if image is None:
            image = self._decode(index)
            self._kept.put(index, image)
        return image

    def _decode(self, index: int) -> Image.Image:
        photo, side = self._photos[index], stored_side(self._size)
        try:
            return use_rgb(lambda image: shrunk(image, self._size), photo.path, photo.part, side=side)
        except UnreadableImage as error:
            raise unreadable(photo, error) from error


class Kept:
    """RGB images by number, in memory that this process shares with those that it forks later: what one of them puts
    here, all can get.

    Pixels lie side by side, of four bytes each, as Pillow has them too. As image objects of their own, small images
    would take twice the memory of their pixels.
    """

    def __init__(self, count: int, budget: int) -> None:
        """Keep images of numbers below `count`, of at most `budget` bytes together."""
        self._memory = _reserved(budget)
        # Where each image starts, and its width and height, 0 while it is not there; in the last row, where there is
        # room for the next one.
        self._table = np.frombuffer(mmap.mmap(-1, 24 * (count + 1)), np.int64).reshape(-1, 3)
        # Also what one process wrote is seen by another only from the end of its hold of the lock on.
        self._lock: Any = multiprocessing.get_context("fork").Lock() if FORKS else threading.Lock()

    def get(self, index: int) -> Image.Image | None:
        """The image of that number, if it is here, read-only."""
        with self._lock:
            start, width, height = self._table[index].tolist()
        if not width:
            return None
        return _mapped(self._memory[start : start + 4 * width * height], width, height)

    def put(self, index: int, image: Image.Image) -> None:
        """Keep an RGB image of a number below the count, if there is room."""
        size = 4 * image.width * image.height
        with self._lock:
            start = int(self._table[-1, 0])
            if start + size > len(self._memory) or self._table[index, 1]:
                return
            self._table[-1, 0] = start + size
        self._memory[start : start + size] = image.tobytes("raw", "RGBX")
        with self._lock:
            self._table[index] = start, image.width, image.height


def _mapped(pixels: memoryview, width: int, height: int) -> Image.Image:
    """An RGB image of pixels of four bytes, which are copied only if this Pillow does not map them.

    `Image.frombuffer` maps them too, but as RGBX, which takes a third longer to resize.
    """
    try:
        mapped: Any = Image.core.map_buffer(pixels, (width, height), "raw", 0, ("RGB", 4 * width, 1))
        image = Image.new("RGB", (0, 0))._new(mapped)
    except (AttributeError, TypeError, ValueError):
        return Image.frombytes("RGB", (width, height), pixels, "raw", "RGBX")
    image.readonly = 1  # who changes it gets a copy
    return image


def _reserved(budget: int) -> memoryview:
    """Memory of so many bytes, or of fewer where the machine has less. It takes none until it is written to."""
    while budget > 0:
        try:
            return memoryview(mmap.mmap(-1, budget))
        except OSError:
            budget //= 2
    return memoryview(b"")
