"""The photos of Han characters on disk: `data: {source: han, options: {classes: 1000, photos: 20}}`.

Written as tar shards (`attar.data.shards`), each of some classes, or as a folder per class. A shard or class that is
there is not written again, so a writer that was killed goes on, and a second one changes nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attar.console import track
from attar.data.han.characters import by_frequency
from attar.data.han.drawing import photo
from attar.data.han.typefaces import TYPEFACES, Face, characters_of, installed
from attar.errors import InputError, did_you_mean
from attar.files import digest_of, replacing, write_json

VERSION = 1
"""Of the drawing: another one is another set of photos."""

MOST_CLASSES = 10_000
_PER_SHARD = 100
"""Classes in a shard."""


class HanSpec(BaseModel):
    """Which photos: the keys of `data.options` for `source: han`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: int = Field(1000, ge=2, le=MOST_CLASSES, description="the most frequent characters")
    photos: int = Field(20, ge=1, le=100_000, description="training photos per class; with a tail, of the largest")
    val_photos: int = Field(
        6, ge=1, le=10_000, description="validation photos per class, of typefaces never trained on"
    )
    size: int = Field(64, ge=16, le=512, description="side of a photo, pixels")
    tail: bool = Field(False, description="training photos by the square root of the character's frequency of use")
    packed: bool = Field(True, description="tar shards; otherwise a folder per class")
    seed: int = Field(0, ge=0, lt=1 << 31)


@dataclass(frozen=True)
class _Class:
    """A character, and how many training photos it has."""

    number: int
    character: str
    photos: int


def write(folder: Path, options: Mapping[str, object], workers: int | None = None) -> Path:
    """Write the photos that are missing below `folder`; returns their place.

    Args:
        options: of `HanSpec`.
        workers: processes; by default one per core.

    Raises:
        InputError: unknown options, or fonts that are not installed.
        MissingExtra: jieba is not installed.
    """
    try:
        spec = HanSpec.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        known = ", ".join(HanSpec.model_fields)
        raise InputError(
            f"data.options.{name}: {first['msg']}. Source han takes {known}.{did_you_mean(name, HanSpec.model_fields)}"
        ) from None
    faces = installed()
    classes = chosen(spec, faces)
    target = folder / f"han-{spec.classes}-{digest_of([VERSION, spec.model_dump()])[:8]}"
    parts = _parts(spec, classes, target)
    missing = [part for part in parts if not part.path.exists()]
    if missing:
        draw = partial(_write_part, spec, faces)
        with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
            for _ in track(pool.map(draw, missing), "Drawing characters", len(missing)):
                pass
    write_json(
        target / "han.json", {"version": VERSION, **spec.model_dump(), "typefaces": list(map(asdict, TYPEFACES))}
    )
    return target


def chosen(spec: HanSpec, faces: dict[str, tuple[Face, ...]]) -> list[_Class]:
    """The most frequent characters that can be drawn in training and in validation."""
    held = [characters_of(faces[each.name][0]) for each in TYPEFACES if each.held_out]
    ours = [characters_of(faces[each.name][0]) for each in TYPEFACES if not each.held_out]
    drawable = frozenset.intersection(*held) & frozenset.union(*ours)
    kept = [(character, times) for character, times in by_frequency() if character in drawable][: spec.classes]
    if len(kept) < spec.classes:
        raise InputError(f"data.options.classes: {spec.classes}, and the fonts here have {len(kept)} characters.")
    most = kept[0][1]
    photos = [max(1, round(spec.photos * (times / most) ** 0.5)) if spec.tail else spec.photos for _, times in kept]
    return [_Class(number, character, count) for number, ((character, _), count) in enumerate(zip(kept, photos))]


@dataclass(frozen=True)
class _Part:
    """What is written at once: a shard, or the folder of a class in one split."""

    path: Path
    split: str
    classes: tuple[_Class, ...]


def _parts(spec: HanSpec, classes: Sequence[_Class], target: Path) -> list[_Part]:
    if not spec.packed:
        return [
            _Part(target / split / each.character, split, (each,)) for split in ("train", "val") for each in classes
        ]
    starts = range(0, len(classes), _PER_SHARD)
    return [
        _Part(target / f"{split}-{start // _PER_SHARD:05d}.tar", split, tuple(classes[start : start + _PER_SHARD]))
        for split in ("train", "val")
        for start in starts
    ]


def _write_part(spec: HanSpec, faces: dict[str, tuple[Face, ...]], part: _Part) -> None:
    with replacing(part.path) as temporary:
        if spec.packed:
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as shard:
                for each, number, content in _photos(spec, faces, part):
                    key = f"{each.number:05d}-{number:05d}"
                    _add(shard, f"{key}.jpg", content)
                    _add(shard, f"{key}.cls", each.character.encode())
        else:
            temporary.mkdir()
            for _, number, content in _photos(spec, faces, part):
                (temporary / f"{number:05d}.jpg").write_bytes(content)


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    shard.addfile(entry, io.BytesIO(content))


def _photos(spec: HanSpec, faces: dict[str, tuple[Face, ...]], part: _Part) -> Iterator[tuple[_Class, int, bytes]]:
    """(class, number, JPEG) of every photo of a part."""
    held_out = part.split == "val"
    for each in part.classes:
        having = [
            faces[typeface.name]
            for typeface in TYPEFACES
            if typeface.held_out == held_out and each.character in characters_of(faces[typeface.name][0])
        ]
        for number in range(spec.val_photos if held_out else each.photos):
            text = f"{spec.seed} {part.split} {each.character} {number}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            fonts = having[number % len(having)]  # every typeface in turn, however many weights it has
            face = fonts[seed % len(fonts)]
            yield each, number, photo(each.character, face, spec.size, seed)
