"""Reading one photo, whatever a camera, a scanner or an editor wrote, as upright 8-bit RGB."""

from __future__ import annotations

import importlib.util
import io
import math
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from attar.data.color import DamagedProfile, profile_of, to_srgb
from attar.errors import AttarError

T = TypeVar("T")

# Set once: `warnings.catch_warnings` is not safe in threads. Pillow's warnings (a large photo, odd EXIF)
# either come again as an error, which is reported, or do not matter.
warnings.filterwarnings("ignore", module=r"PIL\b")

MAX_PIXELS = 100_000_000
"""Photos with more pixels are set aside."""

MEMORY = 1 << 30
"""Bytes that the photos being decoded in all threads may take together. One photo alone may take up to `MAX_BYTES`."""

MAX_BYTES = 1_500_000_000
"""Photos that would take more while they are decoded are set aside: of the largest that `MAX_PIXELS` allows, those in
formats whose decoders need much, such as JPEG 2000."""

STRIP = 1 << 20
"""Pixels of a large image that are converted at a time."""

PER_PIXEL = {"RGB": 8, "L": 5, "1": 5, "P": 6, "RGBA": 8, "LA": 8, "CMYK": 8, "YCbCr": 8, "LAB": 8}
"""Pillow's mode -> bytes per pixel at most: its own, and 4 of RGB or of itself turned upright."""

PER_FORMAT = {"HEIF": 12, "WEBP": 12, "AVIF": 12, "JPEG2000": 16, "TIFF": 4}
"""File format -> bytes per pixel that its decoder takes besides."""

DAMAGED_PROFILE = "attar: damaged colour profile"
"""Key of the `info` of an image that was taken for sRGB because its profile cannot be used; its value says why."""

_HEADER = 1 << 16
"""Bytes at the beginning of an AVIF file in which its boxes are looked for (ISO/IEC 14496-12: `meta` comes first)."""

MAX_ASPECT = 100
"""Photos longer than this many times their width are set aside: resized by the shorter side, they explode."""

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "bmp",
        "webp",
        "tif",
        "tiff",
        "gif",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "jp2",
        "avif",
        "heic",
        "heif",
    )
)
"""File names that promise an image (lower case)."""

FORMATS = ("JPEG", "MPO", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""What Pillow may open, whatever a file is called. The others are no photos, and one of them runs Ghostscript."""


def open_image(source: Path | BinaryIO) -> Image.Image:
    """`Image.open` for `FORMATS` only. Raises what it raises."""
    return Image.open(source, formats=[name for name in FORMATS if name in _known()])


@cache
def _known() -> frozenset[str]:
    """The formats of this Pillow, and of pillow-heif where it is installed."""
    Image.init()
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    return frozenset(Image.OPEN)


class UnreadableImage(Exception):
    """The file cannot be used as a photo; the text says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """A photo inside a larger file: its name there, and the place of its encoded bytes."""

    name: str
    offset: int
    size: int


def open_photo(path: Path, part: Part | None = None) -> io.BufferedReader | io.BytesIO:
    """The encoded bytes of a photo that is a whole file, or part of one. All reading of photos goes through here.

    Raises what `open` raises, and `UnreadableImage` when the file ends before the part does.
    """
    if part is None:
        return path.open("rb")
    with path.open("rb") as stream:
        stream.seek(part.offset)
        data = stream.read(part.size)
    if len(data) < part.size:
        raise UnreadableImage(f"{path.name} ends before it: cut short since it was indexed")
    return io.BytesIO(data)


def shown(path: Path, part: Part | None = None) -> Path:
    """What to call a photo: its file, or `file/name in it`, which is no path that could be opened."""
    return path if part is None else Path(f"{path}/{part.name}")


def read_rgb(
    path: Path, part: Part | None = None, max_pixels: int = MAX_PIXELS, side: int | None = None
) -> Image.Image:
    """Decode a photo fully, as upright RGB: a whole file, or part of one.

    EXIF orientation is applied; an embedded colour profile is converted to sRGB (`attar.data.color`); 16-bit grey is
    scaled to 8 bits (Pillow alone would clip it); transparency is laid over white; palette, grey, CMYK, YCbCr and Lab
    are converted; the first frame of an animation is taken.

    With `side`, a JPEG photo may come reduced by 2, 4 or 8, its shorter side no shorter than `side` pixels: libjpeg
    then leaves out the high frequencies instead of computing them, in less than half the time for large photos
    (`python -m attar.benchmarks.studies.decoding`). Scaled down further, its pixels differ by less than one level of
    255 in the mean. That is for training; evaluation's pixels are a contract, and are decoded whole.

    Where several threads decode, `use_rgb` bounds what they take together.

    Raises:
        UnreadableImage: not an image, cut short, empty, over `max_pixels`, `MAX_ASPECT` or `MAX_BYTES`, or in a
            pixel format without a defined 8-bit meaning (32-bit integer or float).
    """
    return use_rgb(lambda image: image, path, part, max_pixels, side)


def size_of(path: Path, part: Part | None = None) -> tuple[int, int] | None:
    """Width and height that a photo's header tells, pixels; None if it tells none."""
    try:
        with open_photo(path, part) as stream, open_image(stream) as image:
            return image.size
    except Exception:  # decoders raise anything on damaged input; who reads the photo says what is wrong with it
        return None


def use_rgb(
    use: Callable[[Image.Image], T],
    path: Path,
    part: Part | None = None,
    max_pixels: int = MAX_PIXELS,
    side: int | None = None,
) -> T:
    """What `use` makes of a photo read as `read_rgb` reads it, while the photo counts against `MEMORY`.

    A thread waits until there is room. What `use` returns should be small, and must not call this function.
    """
    try:
        with open_photo(path, part) as stream, open_image(stream) as image:
            _refuse_shape(image.width, image.height, max_pixels)
            if side is not None:
                scale = side / min(image.size)
                image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            needed = _bytes_of(image)
            if needed > MAX_BYTES:
                raise UnreadableImage(f"decoding it would take {needed / 1e9:.1f} GB, over {MAX_BYTES / 1e9:.1f}")
            with _MEMORY.taken(needed):
                _name_colours(image, stream)
                image.load()
                rgb = _to_rgb(_upright(image), image.format)
                if rgb is not image:
                    image.close()
                return use(rgb)
    except (UnreadableImage, AttarError):
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(f"over the limit of {max_pixels / 1e6:.0f} megapixels") from None
    except UnidentifiedImageError:
        if shown(path, part).suffix.lower() in (".heic", ".heif"):
            raise UnreadableImage(_why_no_heic()) from None
        raise UnreadableImage("empty file" if _is_empty(path, part) else "not an image that Pillow can read") from None
    except FileNotFoundError:
        raise UnreadableImage("no such file") from None
    except (PermissionError, IsADirectoryError) as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror})") from error
    except Exception as error:  # decoders raise anything on damaged input: OSError, SyntaxError, struct.error, ...
        raise UnreadableImage(f"damaged or cut short ({error})") from error


def _bytes_of(image: Image.Image) -> int:
    """What decoding an image takes at its peak, bytes, from its header; measured in tests/attar/data/test_images.py."""
    each = PER_PIXEL.get(image.mode, 10) + PER_FORMAT.get(image.format or "", 0)
    if image.info.get("progressive") or image.info.get("progression"):
        each += 6  # libjpeg keeps all coefficients
    return each * image.width * image.height + 24 * STRIP


class _Memory:
    """Bytes that are shared out; who asks for more than is left waits, unless nobody has any."""

    def __init__(self, total: int) -> None:
        self.total, self.used, self.peak, self._changed = total, 0, 0, threading.Condition()

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self.used == 0 or self.used + count <= self.total)
            self.used += count
            self.peak = max(self.peak, self.used)
        try:
            yield
        finally:
            with self._changed:
                self.used -= count
                self._changed.notify_all()


_MEMORY = _Memory(MEMORY)


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says; where EXIF is damaged and the pixels are sound, as it is."""
    with suppress(Exception):  # Pillow raises anything on damaged EXIF
        ImageOps.exif_transpose(image, in_place=True)  # else it copies an image that stands upright
    return image


def _refuse_shape(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImage(f"{width * height / 1e6:.0f} megapixels, over the limit of {max_pixels / 1e6:.0f}")
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImage(f"{width} x {height} pixels: one side over {MAX_ASPECT} times the other")


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    """An image in sRGB; that its colour profile is damaged stands in its `info`, by `DAMAGED_PROFILE`."""
    if image.mode == "F" or (image.mode == "I" and file_format not in ("PNG", "PPM")):
        raise UnreadableImage(f"{'32-bit integer' if image.mode == 'I' else 'floating-point'} pixels")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(lab, rgb, "LAB", "RGB")) or image
    damaged, transform = None, None
    try:
        transform = _profile_of(image)
    except DamagedProfile as error:
        damaged = str(error)
    if image.mode.startswith("I"):
        image = _by_strips(image, lambda strip: _in_srgb(_from_grey16(strip), transform))
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = _by_strips(image, lambda strip: _over_white(strip, transform))
    elif transform is not None and image.mode in ("L", "CMYK"):
        image = _by_strips(image, lambda strip: _in_srgb(strip, transform))
    else:
        image = _in_srgb(image if image.mode == "RGB" else image.convert("RGB"), transform)
    if damaged is not None:
        image.info[DAMAGED_PROFILE] = damaged
    return image


def _why_no_heic() -> str:
    if "HEIF" in _known():
        return "not a HEIC photo, or a damaged one"
    return "HEIC, which needs the package pillow-heif: pip install 'attar[heic]', or convert it to JPEG"


def _name_colours(image: Image.Image, stream: BinaryIO) -> None:
    """Give an image of a HEIF or AVIF file, which may name its colours by numbers, the profile that they stand for."""
    if image.info.get("icc_profile"):
        return
    numbers = None
    if nclx := image.info.get("nclx_profile"):
        numbers = nclx["color_primaries"], nclx["transfer_characteristics"]
    elif image.format == "AVIF":  # Pillow does not tell them
        stream.seek(0)
        if box := re.search(rb"colrnclx(.{4})", stream.read(_HEADER), re.DOTALL):
            numbers = struct.unpack(">HH", box[1])
    if numbers and (profile := profile_of(*numbers)):
        image.info["icc_profile"] = profile


def _profile_of(image: Image.Image) -> Any | None:
    """The transform of an image's pixels to sRGB, if it has a profile that asks for one."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode == "1":
        return None
    grey = image.mode.startswith("I") or image.mode in ("L", "LA", "La")
    return to_srgb(profile, "L" if grey else "CMYK" if image.mode == "CMYK" else "RGB")


def _in_srgb(image: Image.Image, transform: Any | None) -> Image.Image:
    """Pixels of a profile's kind (RGB, L or CMYK) -> RGB in sRGB."""
    if transform is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode == "RGB":
        ImageCms.applyTransform(image, transform, inPlace=True)
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted


def _by_strips(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """An image converted a strip at a time: whole copies of a large one would take gigabytes."""
    result = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if "transparency" in image.info:
            strip.info["transparency"] = image.info["transparency"]
        result.paste(to_rgb(strip), (0, top))
    return result


def _from_grey16(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(np.minimum((values + 128) // 257, 255).astype(np.uint8))


def _over_white(image: Image.Image, transform: Any | None) -> Image.Image:
    """A transparent image over white, which is white in every colour space."""
    grey = image.mode in ("L", "LA", "La")
    image = image.convert("RGBA")
    if transform is not None:
        alpha = image.getchannel("A")
        image = _in_srgb(image.convert("L" if grey else "RGB"), transform)
        image.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _is_empty(path: Path, part: Part | None) -> bool:
    return (path.stat().st_size if part is None else part.size) == 0
