"""Photos to ask a model about, wherever they lie and however they are laid out. They need no labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from attar.data.archives import in_packed, is_packed
from attar.data.images import SUFFIXES
from attar.data.photos import Photo
from attar.errors import InputError

_NONE = -1
"""The label of a photo without one."""


def photos_at(places: Sequence[Path]) -> list[Photo]:
    """The photos that are meant by files and folders, in order, each once.

    Args:
        places: photos; folders, searched to any depth; CSV files with a column `path`; tar shards, Arrow or parquet
            files, or patterns of them.

    Raises:
        InputError: a place without any photo.
    """
    photos = [photo for place in places for photo in _at(place.expanduser())]
    return list(dict.fromkeys(photos))


def _at(place: Path) -> list[Photo]:
    if is_packed(place):
        photos = [Photo(item.path, _NONE, item.part) for item in in_packed(place, labelled=False)]
    elif place.is_dir():
        photos = [Photo(path, _NONE) for path in _below(place)]
        photos = photos or [Photo(item.path, _NONE, item.part) for item in in_packed(place, labelled=False)]
    elif place.suffix.lower() == ".csv" and place.is_file():
        photos = [Photo(path, _NONE) for path in _listed(place)]
    elif place.is_file():
        photos = [Photo(place, _NONE)]
    else:
        what = "is neither a file nor a folder" if place.exists() else "no such file or folder"
        raise InputError(f"{place}: {what}. Give photos, a folder of them, a CSV with a column path, or shards.")
    if not photos:
        raise InputError(f"{place}: no photos in it (.jpg, .png, .webp, .tif ...), at any depth.")
    return photos


def _below(folder: Path) -> list[Path]:
    """Photos anywhere below a folder, by their names, in order; nothing hidden, and no folder twice."""
    photos, seen = [], set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX", "@eaDir")))
        paths = [Path(root, name) for name in sorted(files) if not name.startswith(".")]
        photos += [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    return photos


def _listed(path: Path) -> list[Path]:
    """The photos of a CSV file with a column `path`, relative to it."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            if "path" not in [(name or "").strip() for name in reader.fieldnames or ()]:
                raise InputError(f"{path}: the first line must name a column path.")
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            return [path.parent / row["path"].strip() for row in reader if row.get("path")]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a UTF-8 CSV file ({error}).") from error
