"""The preprocessing contract: what happens to a photo before the model, the same everywhere.

    decode -> RGB -> resize (shorter side, antialiased) -> centre crop -> uint8 HWC

Everything after the uint8 image is inside the model or the exported file. A student's own
normalization is fixed at `(x - 128) / 128`: the uint8 pixel then *is* the quantized tensor (scale
1/128, zero point 128), every value is a binary fraction and so exact in fp16, and Core ML's image
input takes it as scale 1/128 and bias -1 (in the file: a cast, a mul and an add, all exact).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from attar.errors import InputError

MEAN = 128.0
"""The student's normalization: subtracted from the uint8 pixel."""
STD = 128.0
"""The student's normalization: what the difference is divided by."""

_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded RGB photo becomes the uint8 image that a model takes.

    Attributes:
        size: side of the square uint8 image, pixels.
        crop: share of the resized shorter side that the centre crop keeps, in (0, 1].
        interpolation: `bilinear` or `bicubic`, both antialiased (Pillow's filters).
    """

    size: int
    crop: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.crop <= 1:
            raise InputError(f"preprocessing: size {self.size} or crop {self.crop} is out of range.")
        if self.interpolation not in _INTERPOLATIONS:
            known = ", ".join(_INTERPOLATIONS)
            raise InputError(f"preprocessing: interpolation {self.interpolation!r} is not one of {known}.")

    @property
    def resized(self) -> int:
        """Length of the shorter side after resizing and before the crop, pixels."""
        return max(self.size, math.floor(self.size / self.crop + 0.5))

    def resize(self, image: Image.Image) -> Image.Image:
        """Scale an RGB image so that its shorter side is `resized` pixels."""
        width, height = image.size
        scale = self.resized / min(width, height)
        target = (max(self.resized, round(width * scale)), max(self.resized, round(height * scale)))
        if target == image.size:
            return image
        return image.resize(target, _INTERPOLATIONS[self.interpolation])

    def __call__(self, image: Image.Image) -> np.ndarray:
        """RGB Pillow image of any size -> uint8 array of shape (size, size, 3)."""
        image = self.resize(image)
        left = (image.width - self.size) // 2
        top = (image.height - self.size) // 2
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)), dtype=np.uint8)

    def to_json(self) -> dict[str, Any]:
        """As plain data, with the normalization spelled out for readers of the file."""
        return {**asdict(self), "mean": MEAN, "std": STD, "layout": "NHWC", "dtype": "uint8"}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Preprocessing:
        """Read back what `to_json` wrote; another normalization than the contract's is an `InputError`."""
        if (value.get("mean", MEAN), value.get("std", STD)) != (MEAN, STD):
            raise InputError(f"preprocessing: mean {value['mean']} and std {value['std']}, not {MEAN} and {STD}.")
        return Preprocessing(int(value["size"]), float(value["crop"]), str(value["interpolation"]))
