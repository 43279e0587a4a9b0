"""Photos as phones, cameras and editors write them: rotations, colour profiles, transparency, odd shapes.

Made of scikit-learn's two photos and of drawn shapes; the same ones on every machine that has Debian's colour profiles.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_sample_image

from attar.data.color import PRIMARIES, matrix_profile

SIZES = [(640, 480), (480, 640), (1600, 300), (260, 1400), (97, 131), (48, 48), (1280, 960)]
DEBIAN = Path("/usr/share/color/icc/ghostscript")


def make_photos(folder: Path, count: int) -> list[Path]:
    """Write so many photos into a folder -> their paths, in order.

    Eight kinds take turns: grey, progressive, transparent, palette and plain ones, JPEG, PNG and lossless WebP. EXIF
    orientations, embedded profiles (Display P3, sRGB, Adobe RGB where Debian's libgs-common is installed) and sizes are
    drawn by a fixed seed.
    """
    adobe = (DEBIAN / "a98.icc").read_bytes() if DEBIAN.is_dir() else None
    profiles = [None, None, matrix_profile(PRIMARIES[12]), matrix_profile(PRIMARIES[1]), adobe]
    scenes = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    made, chance = [], random.Random(5)
    for number in range(count):
        image = chance.choice([*scenes, _disc(chance)])
        image = image.resize(chance.choice(SIZES))
        path, options = _as_kind(number % 8, image, folder / f"{number:03}", chance)
        image = options.pop("image")
        profile = chance.choice(profiles) if image.mode == "RGB" else None
        if path.suffix == ".jpg":
            exif = Image.Exif()
            exif[0x0112] = chance.randint(1, 8)
            options["exif"] = exif.tobytes()
        image.save(path, icc_profile=profile, **options)
        made.append(path)
    return made


def _disc(chance: random.Random) -> Image.Image:
    """A disc of one colour on another, with soft edges."""
    paper, ink = ([chance.randrange(256) for _ in range(3)] for _ in range(2))
    image = Image.new("RGB", (640, 640), tuple(paper))
    ImageDraw.Draw(image).ellipse((120, 120, 520, 520), fill=tuple(ink))
    return image.filter(ImageFilter.GaussianBlur(1))


def _as_kind(kind: int, image: Image.Image, path: Path, chance: random.Random) -> tuple[Path, dict[str, Any]]:
    quality = {"quality": chance.choice([80, 92, 98]), "subsampling": chance.choice([0, 2])}
    if kind == 0:
        return path.with_suffix(".jpg"), {"image": image.convert("L"), "quality": 90}
    if kind == 1:
        return path.with_suffix(".jpg"), {"image": image, "progressive": True, **quality}
    if kind == 2:
        image = image.copy()
        image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda v: 255 * (v > 127)))
        return path.with_suffix(".png"), {"image": image}
    if kind == 3:
        return path.with_suffix(".png"), {"image": image}
    if kind == 4:
        return path.with_suffix(".webp"), {"image": image, "lossless": True}
    if kind == 5:
        return path.with_suffix(".png"), {"image": image.quantize(64)}
    return path.with_suffix(".jpg"), {"image": image, **quality}
