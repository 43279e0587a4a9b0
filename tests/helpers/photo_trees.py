"""Small folders of photos, as users have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from attar.data.photos import DataSpec, Photos, read_photos


def photo(path: Path, number: int = 0) -> Path:
    """A photo of noise, its own for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path, "PNG")
    return path


def tree(root: Path, counts: dict[str, int]) -> Path:
    """Folders with so many photos each, all different."""
    for place, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            photo(root / folder / f"{number}.png", 1000 * (place + 1) + number)
    return root


def read(root: Path, **options: object) -> Photos:
    """The photos there."""
    return read_photos(DataSpec(str(root), **options))  # type: ignore[arg-type]


def names(photos: Photos) -> dict[str, list[str]]:
    """Names of photos by split."""
    return {side: sorted(name for name, _, at, _ in photos.listing if at == side) for side in ("train", "val")}
