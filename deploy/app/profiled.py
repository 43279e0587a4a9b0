"""A WebP file by which a page finds out whether its browser applies the colour profiles of such files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from attar.data.color import PRIMARIES, matrix_profile
from attar.data.images import read_rgb

_COLOR = (180, 60, 40)
"""In Display P3; in sRGB its red is more than 8 levels higher."""


def write_profiled(path: Path) -> list[int]:
    """Write the file (lossless, one colour, with Display P3's profile) -> its RGB levels in sRGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (4, 4), _COLOR)
    image.save(path, "WEBP", lossless=True, icc_profile=matrix_profile(PRIMARIES[12]))
    pixel = read_rgb(path).getpixel((0, 0))
    return [int(level) for level in pixel]  # type: ignore[union-attr]
