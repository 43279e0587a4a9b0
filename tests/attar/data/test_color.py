"""Embedded colour profiles: converted as the definitions and a colour-managed browser convert them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms

from attar.data import images
from attar.data.checking import check
from attar.data.color import PRIMARIES, DamagedProfile, matrix_profile, profile_of, to_srgb
from attar.data.images import DAMAGED_PROFILE, read_rgb
from attar.data.photos import DataSpec, read_photos
from attar.data.sample import Sample
from attar.preprocessing import Preprocessing
from helpers.browser import browsing, visit

P3, SRGB = matrix_profile(PRIMARIES[12]), matrix_profile(PRIMARIES[1])
DEBIAN = Path("/usr/share/color/icc/ghostscript")
"""Debian's libgs-common."""


def picture(side: int = 64) -> np.ndarray:
    """Smooth colours of every hue, with their greys."""
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    hue = np.stack([np.cos(2 * np.pi * (x - third / 3)) for third in range(3)], axis=2) * 0.5 + 0.5
    return (255 * (y[..., None] * hue + (1 - y[..., None]) * x[..., None])).round().astype(np.uint8)


def saved(path: Path, image: Image.Image, profile: bytes | None, **options: Any) -> Path:
    image.save(path, icc_profile=profile, **options)
    return path


def linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(values: np.ndarray) -> np.ndarray:
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    return columns * np.linalg.solve(columns, [0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])


def from_srgb(pixels: np.ndarray, primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """The same colours in another space with sRGB's curve: what a camera of that space would have written."""
    matrix = np.linalg.inv(to_xyz(primaries)) @ to_xyz(PRIMARIES[1])
    return (255 * encoded(linear(pixels / 255) @ matrix.T)).round().astype(np.uint8)


@pytest.mark.parametrize("code", [9, 12])
@given(pixels=arrays(np.uint8, (8, 8, 3)))
def test_a_matrix_profile_is_what_its_definition_says(code: int, pixels: np.ndarray) -> None:
    matrix = np.linalg.inv(to_xyz(PRIMARIES[1])) @ to_xyz(PRIMARIES[code])
    wanted = 255 * encoded(linear(pixels / 255) @ matrix.T)
    converted = ImageCms.applyTransform(Image.fromarray(pixels), to_srgb(matrix_profile(PRIMARIES[code]), "RGB"))
    assert np.abs(np.asarray(converted) - wanted).max() <= 1.5


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_a_display_p3_photo_and_its_srgb_twin_give_one_tensor(suffix: str, tmp_path: Path) -> None:
    options = {} if suffix in ("png", "tif") else {"quality": 100}
    options |= {"subsampling": 0} if suffix == "jpg" else {"subsampling": "4:4:4"} if suffix == "avif" else {}
    options |= {"lossless": True} if suffix == "webp" else {}
    # Colours as vivid as leaves are. Of the most vivid ones P3's 8 bits are coarser than sRGB's.
    twin = (0.6 * picture(300) + 0.4 * picture(300).mean(2, keepdims=True)).round().astype(np.uint8)
    paths = [
        saved(tmp_path / f"p3.{suffix}", Image.fromarray(from_srgb(twin, PRIMARIES[12])), P3, **options),
        saved(tmp_path / f"srgb.{suffix}", Image.fromarray(twin), None, **options),
    ]
    one, other = (Preprocessing(224)(read_rgb(path)).astype(int) for path in paths)
    assert np.abs(one - other).max() <= (2 if suffix in ("png", "tif", "webp") else 8)
    assert np.abs(one - other).mean() <= 1
    as_if = Preprocessing(224)(Image.open(paths[0]).convert("RGB")).astype(int)
    assert np.abs(as_if - other).mean() > 3, "without the profile it is another picture"


def test_a_profile_of_srgb_changes_no_pixel(tmp_path: Path) -> None:
    for profile in (SRGB, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        assert to_srgb(profile, "RGB") is None
        assert np.array_equal(read_rgb(saved(tmp_path / "x.png", Image.fromarray(picture()), profile)), picture())


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "L", "CMYK", "1", "I;16"])
def test_every_kind_of_pixels_meets_every_kind_of_profile(mode: str, tmp_path: Path) -> None:
    """A profile for other pixels is no use, and the photo is read as without one."""
    image = Image.fromarray(picture())
    if mode == "I;16":
        image = Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)
    elif mode == "LA":
        image = Image.merge("LA", [image.convert("L"), Image.new("L", image.size, 200)])
    else:
        image = image.convert(mode)
    suffix = "tif" if mode == "CMYK" else "png"
    plain = np.asarray(read_rgb(saved(tmp_path / f"plain.{suffix}", image, None))).astype(int)
    converted = read_rgb(saved(tmp_path / f"p3.{suffix}", image, P3))
    if mode in ("RGBA", "P"):
        assert DAMAGED_PROFILE not in converted.info and np.abs(np.asarray(converted) - plain).mean() > 2
    else:
        assert np.array_equal(converted, plain) and (DAMAGED_PROFILE in converted.info) == (mode != "1")


@given(data=st.data())
def test_a_damaged_profile_is_refused_or_still_one(data: st.DataObject) -> None:
    content = bytearray(P3)
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        to_srgb(cut, "RGB")
    except DamagedProfile as error:
        assert str(error)


def test_photos_with_damaged_profiles_are_read_as_srgb_and_counted(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(4):
            shifted = Image.fromarray(np.roll(picture(), 9 * number + 4 * (label == "b"), axis=1))
            saved(tmp_path / label / f"{number}.png", shifted, P3[:200] if number == 1 else P3)
    photos = read_photos(DataSpec(str(tmp_path)))
    [note] = [note for note in photos.notes if "profile" in note]
    assert note.startswith("2 photos have a damaged colour profile and are taken for sRGB (1.png: ")
    assert not photos.set_aside and len(photos.train) + len(photos.val) == 8
    again = check(tmp_path, [Sample(tmp_path / "a" / "1.png", "a/1.png", "a", None)])
    assert [item.path.name for item in again.damaged_profiles] == ["1.png"], "remembered"


def test_colours_named_by_numbers() -> None:
    assert profile_of(12, 13) == P3 and profile_of(9, 14) == matrix_profile(PRIMARIES[9])
    assert profile_of(1, 13) is None and profile_of(2, 2) is None
    assert profile_of(9, 16) is None, "PQ needs tone mapping"


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_colours_that_a_file_names_by_numbers_are_converted_as_a_profiles(suffix: str, tmp_path: Path) -> None:
    plain = tmp_path / f"plain.{suffix}"
    read_rgb(saved(tmp_path / "x.png", Image.fromarray(picture()), None))  # registers HEIF
    saved(plain, Image.fromarray(picture()), None, quality=100)
    content = plain.read_bytes()
    place = content.index(b"colrnclx") + 8
    named = tmp_path / f"named.{suffix}"
    named.write_bytes(content[:place] + (12).to_bytes(2, "big") + content[place + 2 :])
    with_profile = np.asarray(ImageCms.applyTransform(read_rgb(plain), to_srgb(P3, "RGB")))
    assert np.array_equal(read_rgb(named), with_profile)


def browser_photos(folder: Path) -> dict[str, Path]:
    """Photos as cameras, scanners and editors write them, by name."""
    image, small = Image.fromarray(picture(96)), Image.fromarray(picture(96)).quantize(64)
    profiles = {name: (DEBIAN / f"{name}.icc").read_bytes() for name in ("a98", "rommrgb", "default_cmyk", "sgray")}
    made = {
        "p3.png": (image, P3, {}),
        "p3.jpg": (image, P3, {"quality": 95}),
        "p3.webp": (image, P3, {"lossless": True}),
        "p3.avif": (image, P3, {"quality": 95}),
        "plain.avif": (image, None, {"quality": 95}),
        "2020.png": (image, matrix_profile(PRIMARIES[9]), {}),
        "srgb.png": (image, SRGB, {}),
        "adobe.jpg": (image, profiles["a98"], {"quality": 95}),
        "adobe.png": (image, profiles["a98"], {}),
        "adobe.webp": (image, profiles["a98"], {"quality": 95}),
        "prophoto.png": (image, profiles["rommrgb"], {}),
        "prophoto.jpg": (image, profiles["rommrgb"], {"quality": 95}),
        "adobe.avif": (image, profiles["a98"], {}),
        "palette.png": (small, P3, {}),
        "palette-adobe.png": (small, profiles["a98"], {}),
        "grey.png": (image.convert("L"), profiles["sgray"], {}),
        "grey.jpg": (image.convert("L"), profiles["sgray"], {}),
        "cmyk.jpg": (image.convert("CMYK"), profiles["default_cmyk"], {"quality": 95}),
        "p3.heic": (image, P3, {"quality": 95}),
        "plain.heic": (image, None, {"quality": 95}),
        "damaged.png": (image, P3[:300], {}),
        "of-other-pixels.png": (image, profiles["sgray"], {}),
        "plain.jpg": (image, None, {"quality": 95}),
    }
    return {name: saved(folder / name, *what[:2], **what[2]) for name, what in made.items()}


SHOWN = """async (url) => {
  const image = new Image(); image.src = url; await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", {colorSpace: "srgb", willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
}"""


@pytest.mark.slow
def test_photos_look_as_a_colour_managed_browser_shows_them(tmp_path: Path) -> None:
    if not DEBIAN.is_dir():
        pytest.skip("Debian's libgs-common is not installed")
    photos, far = browser_photos(tmp_path), {}
    with browsing("--force-color-profile=srgb") as browser:
        page = visit(browser, "about:blank")
        for name, path in photos.items():
            kind = {"jpg": "jpeg"}.get(path.suffix[1:], path.suffix[1:])
            shown_file = path
            if path.suffix == ".heic":  # Chromium does not read it: the same pixels and profile as PNG
                with images.open_image(path) as image:
                    shown_file = saved(path.with_suffix(".heic.png"), image, image.info.get("icc_profile"))
                kind = "png"
            url = f"data:image/{kind};base64,{base64.b64encode(shown_file.read_bytes()).decode()}"
            ours = np.asarray(read_rgb(path)).astype(int)
            shown = np.array(page.evaluate(SHOWN, url)).reshape(*ours.shape[:2], 4)[..., :3]
            far[name] = np.abs(shown - ours).mean()
    assert len(far) >= 20 and max(far.values()) <= 2, far


def test_a_photo_is_decoded_in_one_piece_whatever_its_profile(tmp_path: Path) -> None:
    """Grey, ink and transparent photos are converted a strip at a time."""
    tall = np.tile(picture(64), (40, 1, 1))
    path = saved(tmp_path / "x.png", Image.fromarray(tall).convert("RGBA"), P3)
    whole = np.asarray(read_rgb(path))
    image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    assert np.array_equal(whole, ImageCms.applyTransform(image, to_srgb(P3, "RGB")))
