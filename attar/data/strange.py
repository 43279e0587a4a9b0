"""Pictures that any model of photos should find strange, after the unit tests of NINCO (Bitterwolf et al.,
arXiv 2306.00826, section 3.3): drawn, so that they need no photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def pictures(name: str, count: int) -> Iterator[Image.Image]:
    """`count` different pictures of a kind of `PICTURES`, always the same."""
    for number in range(count):
        yield PICTURES[name](np.random.default_rng(number))


def _even(rng: np.random.Generator) -> Image.Image:
    return Image.new("RGB", (256, 256), tuple(int(each) for each in rng.integers(0, 256, 3)))


def _noise(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))


def _stripes(rng: np.random.Generator) -> Image.Image:
    period, (one, two) = int(rng.integers(4, 40)), rng.integers(0, 256, (2, 3))
    rows = (np.arange(256) // period % 2)[:, None, None]
    pixels = np.broadcast_to(np.where(rows, one, two), (256, 256, 3)).astype(np.uint8)
    return Image.fromarray(pixels if rng.integers(2) else pixels.swapaxes(0, 1))


def _blur(rng: np.random.Generator) -> Image.Image:
    return _noise(rng).filter(ImageFilter.GaussianBlur(float(rng.uniform(8, 24))))


def _lens(rng: np.random.Generator) -> Image.Image:
    """A finger before the lens: dark, a little red, with a sensor's noise."""
    pixels = np.array([40, 12, 8]) + rng.normal(0, 4, (256, 256, 3)) + np.linspace(0, 30, 256)[:, None, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _screenshot(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (400, 800), "white")
    pen = ImageDraw.Draw(image)
    for top in range(20, 780, 24):
        pen.text((16, top), "".join(rng.choice(list("abcdefghij klmno"), 48)), fill="black")
    pen.rectangle((0, 0, 400, int(rng.integers(30, 90))), fill=tuple(int(each) for each in rng.integers(0, 256, 3)))
    return image


PICTURES: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "one colour": _even,
    "noise": _noise,
    "stripes": _stripes,
    "blur": _blur,
    "covered lens": _lens,
    "screenshot": _screenshot,
}
"""Black and white are one colour."""
