"""The typefaces that characters are drawn in, and which of them only validation photos show.

All are free and in Debian. A typeface is what a classifier must not go by, so two of them, one with even and one
with modulated strokes, are never seen in training.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attar.errors import InputError

PACKAGES = (
    "fonts-noto-cjk",
    "fonts-noto-cjk-extra",
    "fonts-arphic-bkai00mp",
    "fonts-arphic-bsmi00lp",
    "fonts-arphic-gbsn00lp",
    "fonts-arphic-gkai00mp",
    "fonts-arphic-ukai",
    "fonts-arphic-uming",
    "fonts-wqy-microhei",
    "fonts-wqy-zenhei",
    "fonts-hanazono",
)
"""Debian's packages of them."""

_SANS = ("Thin", "Light", "DemiLight", "Regular", "Medium", "Bold", "Black")
_SERIF = ("ExtraLight", "Light", "Regular", "Medium", "SemiBold", "Bold", "Black")


@dataclass(frozen=True)
class Typeface:
    """A typeface, in one or several weights.

    Attributes:
        files: names of the font files, one for each weight.
        faces: which fonts of each file: those that draw characters as one region writes them.
        held_out: whether only validation photos show it.
    """

    name: str
    files: tuple[str, ...]
    faces: tuple[int, ...] = (0,)
    held_out: bool = False


TYPEFACES = (
    # Faces: as Japan (0), China (2) and Taiwan (3) write; Korea's are nearly those of Taiwan.
    Typeface("Noto Sans CJK", tuple(f"NotoSansCJK-{weight}.ttc" for weight in _SANS), (0, 2, 3)),
    Typeface("Noto Serif CJK", tuple(f"NotoSerifCJK-{weight}.ttc" for weight in _SERIF), (0, 2, 3)),
    Typeface("AR PL KaitiM Big5", ("bkai00mp.ttf",)),
    Typeface("AR PL KaitiM GB", ("gkai00mp.ttf",)),
    Typeface("AR PL UKai", ("ukai.ttc",)),
    Typeface("AR PL Mingti2L Big5", ("bsmi00lp.ttf",)),
    Typeface("AR PL SungtiL GB", ("gbsn00lp.ttf",)),
    Typeface("AR PL UMing", ("uming.ttc",)),
    Typeface("WenQuanYi Zen Hei", ("wqy-zenhei.ttc",)),
    Typeface("WenQuanYi Micro Hei", ("wqy-microhei.ttc",), held_out=True),
    Typeface("Hanazono Mincho", ("HanaMinA.ttf",), held_out=True),
)


@dataclass(frozen=True)
class Face:
    """One font: a file, and which font of it."""

    typeface: str
    path: Path
    index: int


def places() -> tuple[Path, ...]:
    """Where fonts are looked for: the user's folders before the system's."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")


def installed(folders: Iterable[Path] | None = None) -> dict[str, tuple[Face, ...]]:
    """Name of each of `TYPEFACES` -> its fonts on this machine.

    Args:
        folders: where to look, with all folders inside; by default `places()`.

    Raises:
        InputError: one is missing; the text names the packages to install.
    """
    looked = places() if folders is None else tuple(folders)
    files = {path.name: path for folder in reversed(looked) for path in sorted(folder.rglob("*.tt[fc]"))}
    missing = [name for typeface in TYPEFACES for name in typeface.files if name not in files]
    if missing:
        raise InputError(
            f"data source han: {len(missing)} fonts are missing, such as {missing[0]}. On Debian and Ubuntu: "
            f"apt install {' '.join(PACKAGES)}. Elsewhere put their files into {looked[0]}."
        )
    return {
        typeface.name: tuple(
            Face(typeface.name, files[name], index) for name in typeface.files for index in typeface.faces
        )
        for typeface in TYPEFACES
    }


@cache
def characters_of(face: Face) -> frozenset[str]:
    """The characters that a font has; all weights of a typeface have the same."""
    from fontTools.ttLib import TTFont

    with TTFont(face.path, fontNumber=face.index, lazy=True) as font:
        return frozenset(map(chr, font.getBestCmap()))
