"""The preprocessing contract: what happens to a photo before the model, the same everywhere.

    decode -> RGB -> resize (antialiased) -> centre crop or padding -> uint8 HWC

Everything after the uint8 image is inside the model or the exported file. A student's own
normalization is fixed at `(x - 128) / 128`: the uint8 pixel then *is* the quantized tensor (scale
1/128, zero point 128), every value is a binary fraction and so exact in fp16, and Core ML's image
input takes it as scale 1/128 and bias -1 (in the file: a cast, a mul and an add, all exact).

Sizes and offsets are rounded as timm rounds them in evaluation, to the pixel, so a teacher with timm's weights sees
what it sees there. attar 0.1 rounded otherwise, by up to a pixel; its bundles and files keep that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from attar.errors import InputError

MEAN = 128.0
"""The student's normalization: subtracted from the uint8 pixel."""
STD = 128.0
"""The student's normalization: what the difference is divided by."""

FITS = ("crop", "squash", "pad")
"""How a photo that is not square becomes so; timm's `crop_mode` calls them center, squash and border."""
GREY = (128, 128, 128)
"""What a student's photos are padded with: zero, once normalized."""

_LARGEST = 1 << 24
"""Pixels of a resized photo, at most; of a longer one only the middle is resized, more than the crop keeps."""

_INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded RGB photo becomes the uint8 image that a model takes.

    Attributes:
        size: side of the square uint8 image, pixels.
        crop: share of the resized side that the centre crop keeps, in (0, 1].
        interpolation: `bilinear` or `bicubic`, both antialiased (Pillow's filters).
        fit: what becomes `resized` pixels. `crop`: the shorter side, and the ends of a long photo are lost; `squash`:
            both sides, and a long photo is distorted; `pad`: the longer side, and the rest is `fill`.
        fill: the colour that `pad` pads with, RGB.
        geometry: 2 rounds sizes and offsets as timm does; 1 as attar 0.1 did.
    """

    size: int
    crop: float = 0.875
    interpolation: str = "bicubic"
    fit: str = "crop"
    fill: tuple[int, int, int] = GREY
    geometry: int = 2

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.crop <= 1:
            raise InputError(f"preprocessing: size {self.size} or crop {self.crop} is out of range.")
        if self.interpolation not in _INTERPOLATIONS:
            names = ", ".join(_INTERPOLATIONS)
            raise InputError(f"preprocessing: interpolation {self.interpolation!r} is not one of {names}.")
        if self.fit not in FITS:
            raise InputError(f"preprocessing: fit {self.fit!r} is not one of {', '.join(FITS)}.")
        if self.geometry not in (1, 2) or (self.geometry == 1 and self.fit != "crop"):
            raise InputError(f"preprocessing: geometry {self.geometry} with fit {self.fit!r} is not one of attar's.")
        if len(self.fill) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in self.fill):
            raise InputError(f"preprocessing: fill {self.fill!r} is no colour: three numbers from 0 to 255.")

        if self.fit != "pad":  # where the colour says nothing, two are equal whatever it is
            object.__setattr__(self, "fill", GREY)

    @property
    def resized(self) -> int:
        """Length of the side that `fit` names, after resizing and before the crop, pixels."""
        return max(self.size, math.floor(self.size / self.crop + (0.5 if self.geometry == 1 else 0.0)))

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the resized photo, pixels."""
        side, short, long = self.resized, min(width, height), max(width, height)
        if self.fit == "squash":
            return side, side
        if self.fit == "pad":
            return max(1, round(width / (long / side))), max(1, round(height / (long / side)))
        if self.geometry == 1:
            scale = side / short
            return max(side, round(width * scale)), max(side, round(height * scale))
        return int(side * width / short), int(side * height / short)

    def offset(self, length: int) -> int:
        """Where the image begins on a resized side of so many pixels; below zero: so many are padding."""
        if length < self.size:
            return -((self.size - length) // 2)
        return (length - self.size) // 2 if self.geometry == 1 else round((length - self.size) / 2)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """RGB Pillow image of any size -> uint8 array of shape (size, size, 3)."""
        width, height = self.target(*image.size)
        if width * height > _LARGEST and self.fit == "crop":
            image = _middle(image)
            width, height = self.target(*image.size)
        if (width, height) != image.size:
            image = resized(image, width, height, self.interpolation)
        square = Image.new("RGB", (self.size, self.size), self.fill)
        square.paste(image, (-self.offset(width), -self.offset(height)))
        return np.asarray(square, dtype=np.uint8)

    def in_words(self) -> str:
        """How a photo becomes the image, as part of a sentence."""
        how = f"(antialiased, {self.interpolation})"
        if self.fit == "squash":
            words = f"both sides resized to {self.resized} pixels {how}, whatever the photo's shape"
        elif self.fit == "pad":
            words = f"longer side resized to {self.resized} pixels {how}, the rest padded with RGB {self.fill}"
        else:
            words = f"shorter side resized to {self.resized} pixels {how}"
        if self.fit != "crop" and self.resized == self.size:
            return words
        return f"{words}, then the centre {self.size} x {self.size} pixels"

    def to_json(self) -> dict[str, Any]:
        """As plain data, with the normalization spelled out for readers of the file.

        What attar 0.1 did not have is left out where it does not matter, so its bundles and files read as they did.
        """
        values: dict[str, Any] = {"size": self.size, "crop": self.crop, "interpolation": self.interpolation}
        if self.geometry != 1:
            values |= {"fit": self.fit, "geometry": self.geometry}
        if self.fit == "pad":
            values["fill"] = list(self.fill)
        return {**values, "mean": MEAN, "std": STD, "layout": "NHWC", "dtype": "uint8"}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Preprocessing:
        """Read back what `to_json` wrote; another normalization than the contract's is an `InputError`."""
        if (value.get("mean", MEAN), value.get("std", STD)) != (MEAN, STD):
            raise InputError(f"preprocessing: mean {value['mean']} and std {value['std']}, not {MEAN} and {STD}.")
        return Preprocessing(
            int(value["size"]),
            float(value["crop"]),
            str(value["interpolation"]),
            str(value.get("fit", "crop")),
            tuple(value.get("fill", GREY)),
            int(value.get("geometry", 1)),
        )


def resized(image: Image.Image, width: int, height: int, interpolation: str) -> Image.Image:
    """Resize along the width, round to 8 bits, then along the height: arithmetic that a phone can repeat.

    In one call Pillow before 13 does the same, and 13 begins with the height for some shapes, which rounds otherwise.
    """
    method = _INTERPOLATIONS[interpolation]
    return image.resize((width, image.height), method).resize((width, height), method)


def _middle(image: Image.Image) -> Image.Image:
    """The middle of a long photo, at most twice as long as wide."""
    long, short = max(image.size), min(image.size)
    kept = min(long, 2 * short)
    start = (long - kept) // 2
    return image.crop((start, 0, start + kept, short) if image.width == long else (0, start, short, start + kept))
