"""Photos packed many to a file: which tar shards or tables a path means, and what photos lie in them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

from attar.data.sample import Sample, split_files, split_word
from attar.data.shards import in_shards
from attar.data.tables import in_tables, table_files
from attar.errors import InputError

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
PACKED = (".tar", ".arrow", ".parquet", *_COMPRESSED)
"""How the names of packed files end."""


def is_packed(path: Path) -> bool:
    """Whether a path names packed files itself: one of them, or a pattern such as `train-{000..015}.tar`."""
    return path.name.lower().endswith(PACKED) and not path.is_dir()


def in_packed(path: Path, labelled: bool = True) -> list[Sample]:
    """The photos in the tar shards or tables that a path means: one file, a pattern of names, or a folder of them.

    A folder's shards lie in it or in folders of splits (`train/000.tar`). None found: an empty list.

    Raises:
        InputError: naming the file: see `attar.data.shards` and `attar.data.tables`; nothing matches a pattern, files
            of several kinds.
    """
    folder = path.is_dir()
    files = _in_folder(path) if folder else expand(path)
    odd = next((file for file in files if file.exists() and not file.is_file()), None)
    if odd is not None:
        raise InputError(f"{odd}: not a regular file, so it is not opened. Give the file that holds the photos.")
    compressed = next((file for file in files if file.name.lower().endswith(_COMPRESSED)), None)
    if compressed is not None:
        raise InputError(f"{compressed}: compressed, so its photos cannot be read in any order. Decompress it to .tar.")
    kinds = {file.suffix.lower() for file in files}
    if len(kinds) > 1:
        raise InputError(f"{path}: files of several kinds ({', '.join(sorted(kinds))}). Keep one kind.")
    if kinds == {".tar"}:
        return in_shards(split_files(files), [path] if folder else [], labelled)
    return in_tables(files, labelled) if files else []


def _in_folder(folder: Path) -> list[Path]:
    places = [folder, *(place for place in folder.iterdir() if place.is_dir() and split_word(place.name))]
    files = [file for place in places for file in place.iterdir()]
    shards = [file for file in files if file.name.lower().endswith((".tar", *_COMPRESSED)) and file.name[0] != "."]
    return sorted(shards) or table_files(folder)


def expand(pattern: Path) -> list[Path]:
    """The files that a pattern names, sorted: braces as in a shell (`{000..015}`, `{train,val}`), then `*`, `?`, `[]`.

    Raises:
        InputError: a name that the braces spell, or the whole pattern, matches no file.
    """
    read: set[Path] = set()
    for name in spelled(str(pattern)):
        path = Path(name)
        root = Path(path.anchor)
        files = [path] if path.is_file() else [*root.glob(str(path.relative_to(root)))]
        if not files:
            raise InputError(f"{name}: no such file. Every file that {pattern} names has to be there.")
        read.update(files)
    return sorted(read)


MOST_FILES = 100_000
"""Names that one pattern may spell."""


def spelled(text: str) -> Sequence[str]:
    """The names that braces spell; refused before they are spelled if they are too many."""
    parts = re.split(r"\{([^{}]*)\}", text)  # what stands between braces at odd places
    choices = [_choices(text, part) if place % 2 else (part,) for place, part in enumerate(parts)]
    if math.prod(map(len, choices)) > MOST_FILES:
        raise InputError(f"{text}: spells over {MOST_FILES:,} names. Give the folder that the files lie in.")
    expanded: list[str] = []
    for chosen in itertools.product(*choices):
        name = "".join(chosen)
        expanded += spelled(name) if re.search(r"\{[^{}]*\}", name) else [name]  # braces in braces
        if len(expanded) > MOST_FILES:
            raise InputError(f"{text}: spells over {MOST_FILES:,} names. Give the folder that the files lie in.")
    return expanded


def _choices(text: str, inside: str) -> Sequence[str]:
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if not numbers:
        return inside.split(",")
    if max(map(len, numbers.groups())) > 18 or int(numbers[2]) - int(numbers[1]) >= MOST_FILES:
        raise InputError(f"{text}: spells over {MOST_FILES:,} names. Give the folder that the files lie in.")
    width = len(numbers[1]) if numbers[1].startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(numbers[1]), int(numbers[2]) + 1)]
