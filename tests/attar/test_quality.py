"""Measures of a photo: against scipy's Laplacian and Pillow's luma, and what they call dark, blurred and small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import laplace

from attar.data.photos import DataSpec, read_photos
from attar.preprocessing import Preprocessing
from attar.quality import Quality, beyond, measured, quality_of, range_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [3, 32, 100])
def test_it_is_scipys_laplacian_of_pillows_luma(size: int) -> None:
    square = RNG.integers(0, 256, (size, size, 3), dtype=np.uint8)
    luma = np.asarray(Image.fromarray(square).convert("L"), np.float64)
    found = quality_of(square, 7)
    assert found.side == 7 and found.brightness == pytest.approx(luma.mean(), abs=0.6)
    assert found.sharpness == pytest.approx(laplace(luma)[1:-1, 1:-1].var(), rel=0.02)


def test_one_colour_has_no_edges() -> None:
    assert quality_of(np.full((16, 16, 3), 77, np.uint8), 16) == Quality(77, 0, 16)
    assert quality_of(np.zeros((1, 1, 3), np.uint8), 1) == Quality(0, 0, 1)


def test_what_is_beyond_the_training_photos_is_named(shapes: Path) -> None:
    photos, how = read_photos(DataSpec(str(shapes))), Preprocessing(32)
    known = range_of(measured(photos.train, how))
    assert known["photos"] == len(photos.train)
    assert not any(beyond(each, known) for each in measured(photos.train, how))
    with Image.open(photos.train[0].path) as opened:
        photo = opened.convert("RGB")
    side = min(photo.size)

    def said(image: Image.Image) -> tuple[str, ...]:
        return beyond(quality_of(how(image), min(image.size)), known)

    assert said(photo) == ()
    assert said(Image.new("RGB", (side, side))) == ("dark", "blurred")
    assert said(Image.new("RGB", (side, side), "white")) == ("bright", "blurred")
    assert said(photo.filter(ImageFilter.GaussianBlur(side / 8))) == ("blurred",)
    assert "small" in said(photo.resize((side // 2, side // 2)))
