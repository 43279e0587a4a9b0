"""The list of a run's photos: what a later run compares its own photos with, and whose split it keeps.

`photos.json` in a run's folder holds name, label, split and SHA-256 of each photo.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.errors import InputError, in_line
from attar.files import digest_of_each, read_json, write_text

Entry = tuple[str, str, str, str]
"""Name, label, split (`train` or `val`), SHA-256 of the content as hexadecimal digits."""

_SPLITS = ("train", "val")


def write_list(path: Path, listing: Sequence[Entry]) -> None:
    """Write a list, one photo per line."""
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in listing)
    write_text(path, f'{{"schema": 1, "sha256": "{digest_of_each(listing)}", "photos": [\n{lines}\n]}}\n')


def read_list(path: Path) -> list[Entry]:
    """Read a list.

    Raises:
        InputError: it is not there, or no such list.
    """
    value = read_json(path)
    entries = value.get("photos") if isinstance(value, dict) and value.get("schema") == 1 else None
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise InputError(f"{path}: not a list of photos that attar wrote, or damaged. Run anew into another --output.")
    if value.get("sha256") != digest_of_each(entries):
        raise InputError(f"{path}: damaged or edited: its own checksum is another one. Run anew into another --output.")
    return [(name, label, split, digest) for name, label, split, digest in entries]


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 4 or not all(isinstance(part, str) for part in entry):
        return False
    return entry[2] in _SPLITS and len(entry[3]) == 64


@dataclass(frozen=True)
class Changes:
    """How one list differs from an earlier one. Photos are told apart by content; names are of the later list.

    Attributes:
        added: names of new photos.
        removed: names of photos that are gone.
        relabelled: name, label before, label now.
        moved: names of photos on the other side of the split.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[tuple[str, str, str], ...]
    moved: tuple[str, ...]

    def __str__(self) -> str:
        """For a person: counts, and the first names."""
        labels = [f"{in_line(name)}: {before!r}, now {now!r}" for name, before, now in self.relabelled]
        kinds = (
            ("added", [in_line(name) for name in self.added]),
            ("removed", [in_line(name) for name in self.removed]),
            ("relabelled", labels),
            ("moved to the other split", [in_line(name) for name in self.moved]),
        )
        parts = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds if names]
        return ", ".join(parts) or "names or copies of photos differ"


def changes(before: Sequence[Entry], now: Sequence[Entry]) -> Changes:
    """What differs between two lists."""
    old, new = ({entry[3]: entry for entry in each} for each in (before, now))
    both = [(old[digest], entry) for digest, entry in new.items() if digest in old]
    return Changes(
        added=tuple(entry[0] for digest, entry in new.items() if digest not in old),
        removed=tuple(entry[0] for digest, entry in old.items() if digest not in new),
        relabelled=tuple((now[0], then[1], now[1]) for then, now in both if then[1] != now[1]),
        moved=tuple(now[0] for then, now in both if then[2] != now[2]),
    )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
