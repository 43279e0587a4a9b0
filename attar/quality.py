"""Whether a photo is darker, brighter, more blurred or smaller than all that a model learned from.

Measured on the square that the model sees, in integers, so that the phone's page has the same numbers. Sharpness is the
variance of the Laplacian (Pech-Pacheco et al., ICPR 2000): what edges there are at the model's own resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from attar.data.images import use_rgb
from attar.data.photos import Photo, in_threads
from attar.preprocessing import Preprocessing

PHOTOS = 200
"""Training photos whose range is taken."""


@dataclass(frozen=True)
class Quality:
    """What is measured of a photo.

    Attributes:
        brightness: mean luma, 0 to 255.
        sharpness: variance of the luma's Laplacian.
        side: pixels of the whole photo's shorter side.
    """

    brightness: float
    sharpness: float
    side: int


def quality_of(square: np.ndarray, side: int) -> Quality:
    """Measure a photo.

    Args:
        square: what the model sees of it, uint8 (size, size, 3).
        side: pixels of the whole photo's shorter side.
    """
    red, green, blue = np.moveaxis(square.astype(np.int64), -1, 0)
    luma = (299 * red + 587 * green + 114 * blue + 500) // 1000
    inner = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    count = max(inner.size, 1)
    mean = int(inner.sum()) / count
    return Quality(int(luma.sum()) / luma.size, int((inner**2).sum()) / count - mean * mean, side)


def measured(photos: Sequence[Photo], preprocessing: Preprocessing) -> list[Quality]:
    """Of each photo, in order."""

    def measure(image: Image.Image) -> Quality:
        return quality_of(preprocessing(image), min(image.size))

    return list(in_threads(lambda photo: use_rgb(measure, photo.path, photo.part), photos))


def range_of(qualities: Sequence[Quality]) -> dict[str, Any]:
    """The range of training photos: `photos` (number), `brightness` [least, most], least `sharpness` and `side`."""
    brightness = [each.brightness for each in qualities]
    return {
        "photos": len(qualities),
        "brightness": [min(brightness), max(brightness)],
        "sharpness": min(each.sharpness for each in qualities),
        "side": min(each.side for each in qualities),
    }


def beyond(quality: Quality, known: Mapping[str, Any]) -> tuple[str, ...]:
    """In what a photo is beyond the range of `range_of`: `dark`, `bright`, `blurred`, `small`."""
    least, most = known["brightness"]
    found = {
        "dark": quality.brightness < least,
        "bright": quality.brightness > most,
        "blurred": quality.sharpness < known["sharpness"],
        "small": quality.side < known["side"],
    }
    return tuple(name for name, is_beyond in found.items() if is_beyond)
