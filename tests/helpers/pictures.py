"""Pictures a network can learn to tell apart."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "cross", "square")


def draw(shape: str, number: int, size: int = 48) -> Image.Image:
    """A picture a network can learn: one shape, its place and colours from the number."""
    rng = np.random.default_rng((SHAPES.index(shape), number))
    image = Image.new("RGB", (size, size), tuple(rng.integers(0, 90, 3).tolist()))
    pen = ImageDraw.Draw(image)
    colour = tuple(rng.integers(140, 256, 3).tolist())
    x, y = rng.integers(4, size // 3, 2).tolist()
    side = int(rng.integers(size // 2, size - 2 - max(x, y)))
    if shape == "circle":
        pen.ellipse((x, y, x + side, y + side), fill=colour)
    elif shape == "square":
        pen.rectangle((x, y, x + side, y + side), outline=colour, width=4)
    else:
        pen.line((x, y, x + side, y + side), fill=colour, width=5)
        pen.line((x, y + side, x + side, y), fill=colour, width=5)
    return image
