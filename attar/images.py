"""Reading one photo, whatever a camera, a scanner or an editor wrote, as upright 8-bit RGB."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

# Set once: `warnings.catch_warnings` is not safe in threads. Pillow's warnings (a large photo, odd EXIF)
# either come again as an error, which is reported, or do not matter.
warnings.filterwarnings("ignore", module=r"PIL\b")

MAX_PIXELS = 100_000_000
"""Photos with more pixels are set aside: decoding one would take over 300 MB."""

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

    EXIF orientation is applied; 16-bit grey is scaled to 8 bits (Pillow alone would clip it);
    transparency is laid over white; palette, grey, CMYK, YCbCr and Lab are converted; the first
    frame of an animation is taken.

    With `side`, a JPEG photo may come reduced by 2, 4 or 8, its shorter side no shorter than `side` pixels: libjpeg
    then leaves out the high frequencies instead of computing them, in less than half the time for large photos
    (`python -m benchmarks.decoding`). Scaled down further, its pixels differ by less than one level of 255 in the mean.
    That is for training; evaluation's pixels are a contract, and are decoded whole.

    Raises:
        UnreadableImage: not an image, cut short, empty, over `max_pixels` or `MAX_ASPECT`, or in a pixel
            format without a defined 8-bit meaning (32-bit integer or float).
    """
    try:
        with open_photo(path, part) as stream, Image.open(stream) as image:
            _refuse_shape(image.width, image.height, max_pixels)
            if side is not None:
                scale = side / min(image.size)
                image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), image.format)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(f"over the limit of {max_pixels / 1e6:.0f} megapixels") from None
    except UnidentifiedImageError:
        if shown(path, part).suffix.lower() in (".heic", ".heif"):
            raise UnreadableImage("HEIC, which Pillow cannot read: convert it to JPEG") from None
        raise UnreadableImage("empty file" if _is_empty(path, part) else "not an image that Pillow can read") from None
    except FileNotFoundError:
        raise UnreadableImage("no such file") from None
    except (PermissionError, IsADirectoryError) as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror})") from error
    except Exception as error:  # decoders raise anything on damaged input: OSError, SyntaxError, struct.error, ...
        raise UnreadableImage(f"damaged or cut short ({error})") from error


def _refuse_shape(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImage(f"{width * height / 1e6:.0f} megapixels, over the limit of {max_pixels / 1e6:.0f}")
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImage(f"{width} x {height} pixels: one side over {MAX_ASPECT} times the other")


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        # 16-bit grey; Pillow widens some PNG and PGM files to mode I.
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(np.minimum((values + 128) // 257, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableImage(f"{'32-bit integer' if image.mode == 'I' else 'floating-point'} pixels")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(lab, rgb, "LAB", "RGB")) or image
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_empty(path: Path, part: Part | None) -> bool:
    return (path.stat().st_size if part is None else part.size) == 0
