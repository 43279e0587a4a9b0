"""How often a set of photos was asked to decide, and what chance of a wrong promotion each look may take.

A set of test photos wears out: of twenty challengers that are no better, one would be promoted by a test of 5%. So the
chance of all looks together, `CHANCE`, is shared out evenly over `LOOKS` of them (Bonferroni): twenty rounds promote an
equally good model in at most 5% of all cases. After the last look the set decides nothing more. The same files with the
same limits are not counted twice: the answer would be the same.

This holds for challengers that were made without the photos. It does not for one that was chosen by its answers to
them.

The ledger is a file of JSON lines, one per look.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from attar.errors import InputError
from attar.files import write_text

CHANCE = 0.05
"""How often all looks at one set of photos together may promote a model that is no better."""

LOOKS = 20
"""Looks that a set of photos is good for."""


@with_config(ConfigDict(strict=True, extra="forbid"))
@dataclass(frozen=True)
class Look:
    """One look at a set of photos.

    Attributes:
        at: when, ISO 8601.
        photos: fingerprint of the set and of the labels that were asked about.
        pair: digest of the champion's and the challenger's files.
        level: the chance of a wrong promotion that it took.
        ship: what was decided.
    """

    at: str
    photos: str
    pair: str
    level: float
    ship: bool


class Ledger:
    """An opened ledger, see `opened`."""

    def __init__(self, path: Path, looks: tuple[Look, ...]) -> None:
        self.path = path
        self._looks = looks

    def of(self, photos: str) -> tuple[Look, ...]:
        """The looks at a set so far."""
        return tuple(look for look in self._looks if look.photos == photos)

    def number(self, photos: str, pair: str) -> int:
        """Which look at the set this is, from 1: a new one, or the one that the pair had.

        Raises:
            InputError: the set is used up.
        """
        pairs = [look.pair for look in self.of(photos)]
        if pair in pairs:
            return pairs.index(pair) + 1
        if len(pairs) >= LOOKS:
            raise InputError(
                f"{self.path}: these photos have decided {LOOKS} times, and one more could promote a model by luck. "
                "Take new validation photos."
            )
        return len(pairs) + 1

    def add(self, look: Look) -> None:
        """Write a look down, unless its pair had one."""
        if look.pair not in [each.pair for each in self.of(look.photos)]:
            self._looks += (look,)
            write_text(self.path, "".join(json.dumps(asdict(each)) + "\n" for each in self._looks))


def level() -> float:
    """The chance of a wrong promotion that one look may take."""
    return CHANCE / LOOKS


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    """A ledger, for one process at a time; a file that is missing is an empty one.

    Raises:
        InputError: it is damaged, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"{path}: the ledger cannot be written ({error.strerror}). Name another with --ledger."
        ) from None
    try:
        yield Ledger(path, tuple(_read(path)))
    finally:
        lock.release()


def _read(path: Path) -> Iterator[Look]:
    adapter: Any = TypeAdapter(Look)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            yield adapter.validate_json(line)
        except ValidationError:
            raise InputError(
                f"{path}: line {number} is damaged, so it is not known how often these photos were looked at. "
                "Restore the file."
            ) from None
