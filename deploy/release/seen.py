"""What a publisher saw last of each folder: beside its private key, out of reach of those who can write to the folder.

A release folder tells which keys sign the next pointer. Whoever can write to it could put another folder in its place,
with keys of their own, or an old state; the chain from what was seen last to what is there now finds that out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from attar.errors import InputError
from attar.files import read_json, write_json


@dataclass(frozen=True)
class Seen:
    """The last pointer that was seen in a folder: its number, and the SHA-256 of its file."""

    number: int
    sha256: str


def place_of(key: Path) -> Path:
    """Where a private key's memory lies."""
    return key.with_suffix(".seen.json")


def read_seen(key: Path) -> dict[str, Seen]:
    """What the owner of a key saw last, by the folder's place on this machine.

    Raises:
        InputError: it is damaged.
    """
    path = place_of(key)
    if not path.exists():
        return {}
    adapter: Any = TypeAdapter(dict[str, Seen])
    try:
        found: dict[str, Seen] = adapter.validate_python(read_json(path))
    except ValidationError:
        raise InputError(
            f"{path}: damaged. Restore it, or remove it: then what lies in the release folder is taken as it is."
        ) from None
    return found


def remember(key: Path, folder: Path, seen: Seen) -> None:
    """Write down what was seen."""
    known = {**read_seen(key), str(folder.resolve()): seen}
    write_json(place_of(key), {name: asdict(each) for name, each in known.items()})
