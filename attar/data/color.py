"""Embedded colour profiles: the same numbers in another colour space, converted to sRGB.

A photo in Display P3 or a scan in Adobe RGB, shown as if it were sRGB, is paler than what the camera saw. Browsers
convert; so does attar, by LittleCMS (through Pillow), to the perceptual intent and without black-point compensation, as
Chromium does.
"""

from __future__ import annotations

import io
import struct
from functools import cache, lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""Pillow's mode of the pixels -> the colour space that a profile for them has (ICC.1:2022, section 7.2.6)."""

LARGEST = 4 << 20
"""Bytes of a profile, at most: the largest in use, for printing in seven inks, have some megabytes."""


class DamagedProfile(Exception):
    """A profile that cannot be used; the text says why. The photo is then taken for sRGB."""


@lru_cache(maxsize=32)
def to_srgb(profile: bytes, mode: str) -> Any | None:
    """LittleCMS's transform of pixels of a mode to RGB in sRGB; None if it would change nothing.

    Args:
        profile: the embedded ICC profile.
        mode: `RGB`, `L` or `CMYK`.

    Raises:
        DamagedProfile: it is cut short, too large, or made for other pixels.
    """
    if len(profile) > LARGEST:
        raise DamagedProfile(f"{len(profile):,} bytes")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space
        if space != SPACES[mode]:
            raise DamagedProfile(f"made for {space.strip()} pixels, and these are {mode}")
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB", ImageCms.Intent.PERCEPTUAL)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise DamagedProfile(str(error) or "not readable") from None
    return None if mode == "RGB" and _changes_nothing(transform) else transform


def _changes_nothing(transform: Any) -> bool:
    """Whether colours, evenly spread, stay what they are but for rounding: most photos say that they are sRGB."""
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3)
    after = ImageCms.applyTransform(Image.fromarray(grid), transform)
    return after is not None and int(np.abs(np.asarray(after).astype(int) - grid).max()) <= 1


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    """Not LittleCMS's own sRGB: with that one, of version 4, it compensates black points, and browsers do not."""
    return ImageCms.ImageCmsProfile(io.BytesIO(matrix_profile(PRIMARIES[1])))


# --- colours that a file names by numbers --------------------------------------------------------

PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""ITU-T H.273, table 2: code of the primaries -> their xy chromaticities: BT.709 (also sRGB's), BT.2020 and Display P3.
The white of all three is D65."""

SRGB_CURVES = (1, 6, 13, 14, 15)
"""Codes of table 3 that browsers show with sRGB's curve or one that differs little: BT.709, BT.601, sRGB, BT.2020."""


def profile_of(primaries: int, transfer: int) -> bytes | None:
    """An ICC profile of colours that a HEIF or AVIF file (or a PNG's cICP) names by H.273's numbers.

    None if they are sRGB's, unspecified, or need tone mapping (PQ, HLG), which is no matter of profiles.
    """
    if primaries not in PRIMARIES or primaries == 1 or transfer not in (*SRGB_CURVES, 2):
        return None
    return matrix_profile(PRIMARIES[primaries])


def matrix_profile(primaries: tuple[tuple[float, float], ...]) -> bytes:
    """An ICC profile (version 2.4) of RGB with these primaries, white D65 and sRGB's curve.

    The colours are adapted to D50, the profile connection space's white, by Bradford's matrix (ICC.1:2022, annex E).
    """
    xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    columns = xyz * np.linalg.solve(xyz, white)
    to_cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    scale = (to_cone @ _D50) / (to_cone @ white)
    adapted = np.linalg.inv(to_cone) @ np.diag(scale) @ to_cone @ columns

    steps = np.linspace(0, 1, 1024)
    curve = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    trc = b"curv" + bytes(4) + struct.pack(">I", len(curve)) + (curve * 65535).round().astype(">u2").tobytes()
    text = b"RGB primaries\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
    tags = [(b"desc", description), (b"wtpt", _xyz(_D50)), (b"cprt", b"text" + bytes(4) + b"none\0")]
    tags += [(name, _xyz(adapted[:, i])) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    tags += [(name, trc) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return _profile(tags)


_D50 = np.array([0.9642, 1.0, 0.8249])


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + np.round(values * 65536).astype(">i4").tobytes()


def _profile(tags: list[tuple[bytes, bytes]]) -> bytes:
    """Header, table of tags and their data (ICC.1:2022, section 7)."""
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(data), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_D50)[8:] + bytes(48)
    return head + table + data
