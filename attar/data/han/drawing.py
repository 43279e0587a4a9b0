"""One character as a photo of paper shows it: ink, paper, light, perspective, blur, noise and JPEG.

A photo is a pure function of its character, font and seed.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from attar.data.han.typefaces import Face

_FINER = 2
"""Characters are drawn so many times larger than the photo, and scaled down after they are bent."""

_BOX = (0.60, 0.90)
"""Side of the character, as a share of the photo's."""
_SHIFT = 0.06
_TURN = 8.0
"""Degrees, either way."""
_BEND = 0.07
"""How far the photo's corners move, as a share of its side."""
_INVERTED, _FRAMED, _GRID = 0.15, 0.15, 0.10
"""Shares of photos with light ink on dark paper, with a frame, and with the cross of a practice sheet."""
_BLUR, _NOISE, _QUALITY = (0.0, 0.9), (0.0, 9.0), (45, 96)
"""Radius of the blur in the photo's pixels; standard deviation of the noise in levels; JPEG quality."""


@lru_cache(maxsize=64)
def _font(face: Face, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face.path, pixels, index=face.index, layout_engine=ImageFont.Layout.BASIC)


def photo(character: str, face: Face, size: int, seed: int) -> bytes:
    """A JPEG of `size` x `size` pixels.

    Args:
        seed: of everything but the character and its font.
    """
    rng = np.random.default_rng(seed)
    ink = _bent(_drawn(character, face, size * _FINER, rng), size, rng)
    colored = _lit(_on_paper(ink, rng), rng)
    image = Image.fromarray(np.clip(colored, 0, 255).round().astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*_BLUR) * size / 64))
    noisy = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(*_NOISE), (size, size, 1)).astype(np.float32)
    out = io.BytesIO()
    final = Image.fromarray(np.clip(noisy, 0, 255).round().astype(np.uint8))
    final.save(out, "JPEG", quality=int(rng.integers(*_QUALITY)))
    return out.getvalue()


def _drawn(character: str, face: Face, side: int, rng: np.random.Generator) -> Image.Image:
    """How much ink there is, 0 to 255: the character in the middle, or nearly, and perhaps lines around it."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    # Few sizes, so that fonts are kept from photo to photo.
    pixels = int(side * rng.choice(np.linspace(*_BOX, 7)))
    left, top, right, bottom = draw.textbbox((0, 0), character, font=_font(face, pixels))
    shift = rng.uniform(-_SHIFT, _SHIFT, 2) * side
    place = ((side - left - right) / 2 + shift[0], (side - top - bottom) / 2 + shift[1])
    kind = rng.random()
    if kind < _FRAMED + _GRID:
        _lines(draw, side, pixels, shift, cross=kind >= _FRAMED)
    draw.text(place, character, fill=255, font=_font(face, pixels))
    return image


def _lines(draw: ImageDraw.ImageDraw, side: int, pixels: int, shift: np.ndarray, cross: bool) -> None:
    """A frame around the character, and the cross in it that beginners write on."""
    middle, half = side / 2 + shift, 0.55 * pixels
    (x0, y0), (x1, y1) = middle - half, middle + half
    draw.rectangle((x0, y0, x1, y1), outline=170, width=max(1, side // 64))
    if cross:
        draw.line((x0, middle[1], x1, middle[1]), fill=90)
        draw.line((middle[0], y0, middle[0], y1), fill=90)


def _bent(image: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """Turned and seen askew, scaled down: float32 (size, size) in [0, 1]."""
    angle = np.deg2rad(rng.uniform(-_TURN, _TURN))
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) / 2  # as QUAD wants them: down the left, up the right
    turned = corners @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (turned + 0.5 + rng.uniform(-_BEND, _BEND, (4, 2))) * image.width
    seen = image.transform(image.size, Image.Transform.QUAD, moved.ravel().tolist(), Image.Resampling.BILINEAR)
    return np.asarray(seen.resize((size, size), Image.Resampling.BOX), np.float32) / 255


def _on_paper(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ink and paper in colours of their own, the paper with a grain: float32 (size, size, 3), 0 to 255."""
    light = rng.uniform(165, 255) + rng.uniform(-14, 14, 3)
    dark = rng.uniform(0, 75) + rng.uniform(-14, 14, 3)
    paper, colour = (dark, light) if rng.random() < _INVERTED else (light, dark)
    grain = _smooth(len(ink), int(rng.integers(3, 9)), rng) * rng.uniform(0, 18)
    strength = ink[..., None] * rng.uniform(0.75, 1.0)
    mixed: np.ndarray = (paper * (1 - strength) + colour * strength + grain[..., None]).astype(np.float32)
    return mixed


def _lit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light that falls off to one side, and perhaps the edge of a shadow."""
    across = np.linspace(-0.5, 0.5, len(image), dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * across[None] + np.sin(angle) * across[:, None]
    light = 1 + rng.uniform(0, 0.5) * along
    if rng.random() < 0.25:
        edge = rng.uniform(-0.4, 0.4)
        light *= 1 - rng.uniform(0.1, 0.4) / (1 + np.exp(-(along - edge) * rng.uniform(10, 60)))
    return image * light[..., None].astype(np.float32)


def _smooth(side: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """A field that varies slowly, about -1 to 1: float32 (side, side)."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) / 2
