"""Photos in tar shards, laid out as WebDataset does, read in place and in any order.

    shards/train-000.tar:  0001.jpg 0001.cls   a class number or name
                           0002.png 0002.json  {"label": 7} or {"class_name": "rose"}
    shards/classes.txt     names the class numbers, one per line from 0 on; labels.txt works as well

Files of one sample share their name up to its first dot, and may lie anywhere in their shard.

The library `webdataset` streams shards from front to back and shuffles within a window. Here an epoch's order, a
resumed training and the views of the teacher cache all need photo number i at any time, and a member of an
uncompressed tar file is a plain slice of it: one pass over the headers finds all slices, and nothing is unpacked or
unpickled.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from attar.console import track
from attar.data.images import SUFFIXES, Part
from attar.data.remembered import remembered
from attar.data.sample import Sample, normal
from attar.errors import InputError, did_you_mean
from attar.files import digest_of

_LABELS = (".cls", ".json")
_LABEL_BYTES = 1 << 20
_CLASS_FILES = ("classes.txt", "labels.txt")

Classes = Mapping[int | str, str]
"""What a label may say, a number or a name, to the class's name."""


def in_shards(
    shards: Sequence[tuple[Path, str | None]], folders: Iterable[Path] = (), labelled: bool = True
) -> list[Sample]:
    """The photos of tar shards, each given with its split, ordered by name as if they were unpacked.

    Args:
        shards: files and their splits.
        folders: where, besides the shards' own folders, `classes.txt` may lie.
        labelled: whether every photo must have a label; otherwise labels are not read.

    Raises:
        InputError: naming the shard, and the sample if it is one: cut short, compressed, or no tar file; a photo
            without a label, a label without a photo, an unknown class; a name twice in a shard.
    """
    classes = class_names([*folders, *(path.parent for path, _ in shards)]) if labelled else None
    kind = f"shard {labelled} {digest_of(list(classes.items()) if classes else None)}"
    samples = [
        Sample(path, name, label, split, Part(name, offset, size))
        for path, split in track(shards, "Indexing shards", len(shards))
        for name, offset, size, label in _index(path, kind, classes, labelled)
    ]
    count = Counter(item.name for item in samples)
    if len(count) < len(samples):  # every shard counts from 0
        samples = [replace(item, name=f"{item.path.name}/{item.name}") for item in samples]
    if len({item.name for item in samples}) < len(samples):
        raise InputError(f"{shards[0][0].parent}: two shards of the same name hold photos of the same name.")
    return sorted(samples, key=lambda item: (item.split == "val", item.name.split("/")))


def class_names(folders: Iterable[Path]) -> Classes | None:
    """The classes that a `classes.txt` or `labels.txt` in one of the folders names; None without one."""
    places = (folder / name for folder in dict.fromkeys(folders) for name in _CLASS_FILES)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    try:
        names = [normal(line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 text, a class a line ({error}).") from error
    while names and not names[-1]:
        names.pop()
    twice = next((name for name, count in Counter(names).items() if count > 1 or not name), None)
    if twice is not None:
        raise InputError(f"{path}: class {twice!r} is listed twice or empty. Write one name a line.")
    return classes_of(names)


def classes_of(names: Sequence[str]) -> Classes:
    """Class names in the order of their numbers, for `label_of`."""
    return {**dict(enumerate(names)), **{name: name for name in names}}


def _index(path: Path, kind: str, classes: Classes | None, labelled: bool) -> list[tuple[str, int, int, str]]:
    """Name, place and label of every photo of a shard; remembered, because headers are read one by one."""

    def read() -> list[tuple[str, int, int, str]]:
        with path.open("rb") as stream:
            return [
                (photo.name, photo.offset, photo.size, _label(path, key, files, stream, classes) if labelled else "")
                for key, files in _samples(path, stream).items()
                if (photo := _photo(path, key, files)) is not None
            ]

    try:
        return remembered(path, kind, read, _is_row)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _is_row(value: Any) -> bool:
    return isinstance(value, list) and [*map(type, value)] == [str, int, int, str]


def _samples(path: Path, stream: BinaryIO) -> dict[str, dict[str, Part]]:
    """The members of a shard: sample -> extension (lower case) -> where it lies."""
    samples: dict[str, dict[str, Part]] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                folder, _, file = name.rpartition("/")
                if member.isdir() or file.startswith("."):
                    continue
                if not member.isreg() or member.issparse():
                    raise InputError(f"{path}: {name} is a link or no plain file. Write it with tar --dereference.")
                stem, dot, extension = file.partition(".")
                sample = samples.setdefault(f"{folder}/{stem}" if folder else stem, {})
                if (dot + extension).lower() in sample:
                    raise InputError(f"{path}: {name} is in it twice. Keep one.")
                sample[(dot + extension).lower()] = Part(name, member.offset_data, member.size)
            _refuse_ragged(path, stream, archive.offset)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{path}: cut short, compressed, or no tar file ({str(error)[:100]}). Write it again."
        ) from error
    return samples


def _refuse_ragged(path: Path, stream: BinaryIO, end: int) -> None:
    """A tar file ends in blocks of zeros and nothing else; `tarfile` is content with less, and stops at damage."""
    stream.seek(end)
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise InputError(f"{path}: cut short: its end mark is missing. Copy or write the shard again.")
    while block:
        if any(block):
            raise InputError(f"{path}: damaged, or another archive appended, at byte {end}. Write the shard again.")
        block = stream.read(1 << 20)


def _photo(path: Path, key: str, files: dict[str, Part]) -> Part | None:
    photos = [part for extension, part in files.items() if extension in SUFFIXES]
    if len(photos) > 1:
        raise InputError(f"{path}: sample {key} has two photos, {photos[0].name} and {photos[1].name}. Keep one.")
    if not photos and any(PurePosixPath(extension).suffix in SUFFIXES or extension in _LABELS for extension in files):
        file = next(iter(files.values())).name
        raise InputError(
            f"{path}: sample {key} has {file} but no photo. Name a sample's files alike up to the first dot: "
            "0001.jpg and 0001.cls."
        )
    return photos[0] if photos else None


def _label(path: Path, key: str, files: dict[str, Part], stream: BinaryIO, classes: Classes | None) -> str:
    part = next((files[extension] for extension in _LABELS if extension in files), None)
    if part is None:
        raise InputError(f"{path}: sample {key} has no label. Add {key}.cls (a class) or {key}.json (a field label).")
    if part.size > _LABEL_BYTES:
        raise InputError(f"{path}: {part.name}: {part.size} bytes, too many for a label.")
    stream.seek(part.offset)
    try:
        text = stream.read(part.size).decode("utf-8-sig").strip()
        value = text if part.name.lower().endswith(".cls") else _field(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {part.name}: not readable as a label ({error}).") from error
    return label_of(value, classes, f"{path}: {part.name}")


def _field(value: Any) -> Any:
    fields = value if isinstance(value, dict) else {}
    return fields.get("class_name") if fields.get("label") is None else fields["label"]


def label_of(value: Any, classes: Classes | None, where: str) -> str:
    """A class number or name, as read -> the class's name; without `classes`, a number is its own name.

    Raises:
        InputError: neither a number nor a name, or none of `classes`; the message begins with `where`.
    """
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise InputError(f"{where}: its label is {value!r}, and must be a class number or a class name.")
    if classes is None:
        return normal(str(value))
    key = int(value) if isinstance(value, int) or value.isdecimal() else normal(value)
    if key in classes:
        return classes[key]
    names = [name for name in classes if isinstance(name, str)]
    near = f" There are {len(names)}, from 0 on." if isinstance(key, int) else did_you_mean(key, names)
    raise InputError(f"{where}: unknown class {value!r}.{near}")
