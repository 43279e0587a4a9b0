"""The preprocessing contract: shapes, the plain formula, and no stretching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attar.errors import InputError
from attar.preprocessing import Preprocessing


@given(
    size=st.integers(1, 70),
    crop=st.floats(0.3, 1.0),
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
@settings(deadline=None)
def test_any_photo_becomes_a_square(size: int, crop: float, width: int, height: int, interpolation: str) -> None:
    preprocessing = Preprocessing(size, crop, interpolation)
    pixels = preprocessing(Image.new("RGB", (width, height), (10, 200, 30)))
    assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
    assert (pixels == (10, 200, 30)).all()
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


def test_a_photo_of_the_right_size_is_untouched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(Preprocessing(32, crop=1.0)(Image.fromarray(pixels)), pixels)


@pytest.mark.parametrize("shape", [(40, 100), (100, 40), (64, 64)])
def test_is_resize_then_centre_crop(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    ratio = 40 / min(shape)
    resized = image.resize((round(shape[1] * ratio), round(shape[0] * ratio)), Image.Resampling.BICUBIC)
    left, top = (resized.width - 35) // 2, (resized.height - 35) // 2
    expected = np.asarray(resized)[top : top + 35, left : left + 35]
    assert np.array_equal(Preprocessing(35)(image), expected)


@pytest.mark.parametrize("bad", [(0, 0.9, "bicubic"), (32, 0.0, "bicubic"), (32, 1.1, "bicubic"), (32, 1.0, "magic")])
def test_out_of_range(bad: tuple[int, float, str]) -> None:
    with pytest.raises(InputError):
        Preprocessing(*bad)
