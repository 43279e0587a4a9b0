"""The preprocessing contract: shapes, the plain formula, timm's own transforms, and what attar 0.1 did."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

from attar.errors import InputError
from attar.preprocessing import FITS, GREY, Preprocessing

CROP_MODES = {"crop": "center", "squash": "squash", "pad": "border"}
SIDES = st.integers(1, 120)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def width_first(image: Image.Image, size: tuple[int, int], *how: Any, resize: Any = Image.Image.resize) -> Image.Image:
    """What Pillow before 13 does at once."""
    return resize(resize(image, (size[0], image.height), *how), size, *how)


@given(
    size=st.integers(1, 70),
    crop=st.floats(0.3, 1.0),
    width=SIDES,
    height=SIDES,
    fit=st.sampled_from(FITS),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    geometry=st.sampled_from([1, 2]),
)
@settings(deadline=None)
def test_any_photo_becomes_a_square(
    size: int, crop: float, width: int, height: int, fit: str, interpolation: str, geometry: int
) -> None:
    preprocessing = Preprocessing(size, crop, interpolation, "crop" if geometry == 1 else fit, geometry=geometry)
    pixels = preprocessing(Image.new("RGB", (width, height), (10, 200, 30)))
    assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
    own = (pixels == (10, 200, 30)).all(2)
    assert own.all() or (fit == "pad" and (own | (pixels == GREY).all(2)).all())
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


@given(
    size=st.integers(1, 70),
    crop=st.sampled_from([0.875, 0.9, 0.95, 0.965, 1.0]),
    width=SIDES,
    height=SIDES,
    fit=st.sampled_from(FITS),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
@example(size=35, crop=0.9, width=91, height=40, fit="crop", interpolation="bicubic")
@example(size=34, crop=0.95, width=120, height=23, fit="pad", interpolation="bilinear")
@settings(deadline=None, max_examples=200)
def test_pixels_are_timms(size: int, crop: float, width: int, height: int, fit: str, interpolation: str) -> None:
    mean = (0.481, 0.458, 0.408)
    timms = transforms_imagenet_eval(
        size, crop_pct=crop, crop_mode=CROP_MODES[fit], interpolation=interpolation, mean=mean, normalize=False
    )
    photo = noise(width, height)
    if fit == "pad" and round(Preprocessing(size, crop).resized * min(width, height) / max(width, height)) < 1:
        return  # timm fails where a side becomes nothing
    fill = tuple(round(255 * value) for value in mean)
    ours = Preprocessing(size, crop, interpolation, fit, fill)(photo)
    with patch.object(Image.Image, "resize", width_first):
        np.testing.assert_array_equal(ours, timms(photo).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("shape", [(40, 101), (100, 40), (64, 64), (43, 77)])
def test_bundles_of_0_1_keep_their_pixels(shape: tuple[int, int]) -> None:
    """As 0.1 did it: sizes rounded to the nearest, offsets down."""
    image = noise(shape[1], shape[0])
    ratio = 37 / min(shape)  # 33 / 0.9 is 36.7, which timm rounds down
    resized = width_first(image, (round(shape[1] * ratio), round(shape[0] * ratio)), Image.Resampling.BICUBIC)
    left, top = (resized.width - 33) // 2, (resized.height - 33) // 2
    expected = np.asarray(resized)[top : top + 33, left : left + 33]
    written = {"size": 33, "crop": 0.9, "interpolation": "bicubic", "mean": 128.0, "std": 128.0}
    written |= {"layout": "NHWC", "dtype": "uint8"}
    old = Preprocessing.from_json(written)
    assert old.to_json() == written  # so fingerprints and files stay as they are
    assert np.array_equal(old(image), expected)


def test_a_photo_of_the_right_size_is_untouched() -> None:
    photo = noise(32, 32)
    for fit in FITS:
        assert np.array_equal(Preprocessing(32, crop=1.0, fit=fit)(photo), np.asarray(photo))


def test_the_ends_of_a_long_photo_are_lost_squashed_or_kept() -> None:
    pixels = np.zeros((20, 100, 3), dtype=np.uint8)
    pixels[:, :10] = 255  # what matters is at its left end
    photo = Image.fromarray(pixels)
    white = {fit: int((Preprocessing(40, 1.0, fit=fit)(photo) > 200).all(2).sum()) for fit in FITS}
    assert white["crop"] == 0
    assert white["squash"] == pytest.approx(40 * 4, abs=40)
    assert white["pad"] == pytest.approx(8 * 4, abs=8)
    assert (Preprocessing(40, 1.0, fit="pad")(photo)[:15] == GREY).all()


def test_a_photo_as_long_as_a_street_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *rest: taken.append(size) or resize(self, size, *rest)
    )
    street = Image.new("RGB", (1, 30_000), (1, 2, 3))
    for fit in FITS:
        assert Preprocessing(224, fit=fit)(street).shape == (224, 224, 3)
    assert len(taken) == 6 and max(width * height for width, height in taken) <= 1 << 24


def test_in_words() -> None:
    assert Preprocessing(224).in_words() == (
        "shorter side resized to 256 pixels (antialiased, bicubic), then the centre 224 x 224 pixels"
    )
    assert "whatever the photo's shape" in Preprocessing(224, 1.0, fit="squash").in_words()
    assert "padded with RGB (128, 128, 128)" in Preprocessing(224, 1.0, fit="pad").in_words()


@pytest.mark.parametrize(
    "bad",
    [
        (0, 0.9, "bicubic"),
        (32, 0.0, "bicubic"),
        (32, 1.1, "bicubic"),
        (32, 1.0, "magic"),
        (32, 1.0, "bicubic", "stretch"),
        (32, 1.0, "bicubic", "pad", (0, 0, 256)),
        (32, 1.0, "bicubic", "pad", (0, 0)),
        (32, 1.0, "bicubic", "pad", GREY, 1),
        (32, 1.0, "bicubic", "crop", GREY, 3),
    ],
)
def test_out_of_range(bad: tuple) -> None:
    with pytest.raises(InputError):
        Preprocessing(*bad)
