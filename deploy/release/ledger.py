"""How often a set of photos was asked to decide, and what chance of a wrong promotion each look may take.

A set of test photos wears out: of twenty challengers that are no better, one would be promoted by a test of 5%. So the
chance of all looks together, `CHANCE`, is shared out evenly over `LOOKS` of them (Bonferroni): twenty rounds promote an
equally good model in at most 5% of all cases. After the last look the set decides nothing more. The same files with the
same limits are not counted twice: the answer would be the same. A set that shares half of its photos with an earlier
one is the same set, worn as much: photos that are added do not renew the others.

This holds for challengers that were made without the photos. It does not for one that was chosen by its answers to
them.

The ledger is a file of JSON lines, one per look.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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

SAME = 0.5
"""Share of common photos from which on two sets are one."""

_SAMPLED, _DIGITS = 1000, 16
"""Photos that a sample has at most, and hexadecimal digits of each."""


@with_config(ConfigDict(strict=True, extra="forbid"))
@dataclass(frozen=True)
class Look:
    """One look at a set of photos.

    Attributes:
        at: when, ISO 8601.
        photos: `sample` of the set.
        pair: digest of the champion's and the challenger's files, of the limits and of the photos.
        level: the chance of a wrong promotion that it took.
        ship: what was decided.
    """

    at: str
    photos: tuple[str, ...]
    pair: str
    level: float
    ship: bool


class UsedUp(InputError):
    """Photos that have decided as often as they may."""


class Ledger:
    """An opened ledger, see `opened`."""

    def __init__(self, path: Path, looks: tuple[Look, ...]) -> None:
        self.path = path
        self._looks = looks

    def of(self, photos: Sequence[str]) -> tuple[Look, ...]:
        """The looks at a set so far, given its `sample`."""
        return tuple(look for look in self._looks if shared(photos, look.photos) >= SAME)

    def number(self, photos: Sequence[str], pair: str) -> int:
        """Which look at the set this is, from 1: a new one, or the one that the pair had.

        Raises:
            InputError: the set is used up.
        """
        pairs = [look.pair for look in self.of(photos)]
        if pair in pairs:
            return pairs.index(pair) + 1
        if len(pairs) >= LOOKS:
            raise UsedUp(
                f"{self.path}: these photos have decided {LOOKS} times, and one more could promote a model by luck. "
                "Take new validation photos."
            )
        return len(pairs) + 1

    def add(self, look: Look) -> None:
        """Write a look down, unless its pair had one."""
        if look.pair not in [each.pair for each in self._looks]:
            self._looks += (look,)
            write_text(self.path, "".join(json.dumps(asdict(each)) + "\n" for each in self._looks))


def sample(identities: Sequence[str]) -> tuple[str, ...]:
    """What tells whether two sets share photos: the smallest of their photos' digests (Broder 1997, bottom-k)."""
    return tuple(each[:_DIGITS] for each in sorted(identities)[:_SAMPLED])


def shared(one: Sequence[str], other: Sequence[str]) -> float:
    """The share of the smaller set's photos that the other has too, by their samples."""
    # Of a set that was sampled, nothing is known beyond its largest digest.
    ends = [each[-1] for each in (one, other) if len(each) == _SAMPLED]
    end = min(ends) if ends else "g"
    first, second = ({each for each in of if each <= end} for of in (one, other))
    return len(first & second) / max(1, min(len(first), len(second)))


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
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the ledger cannot be written ({error}). Name another with --ledger.") from None
    try:
        yield Ledger(path, tuple(_read(path)))
    finally:
        lock.release()


def _read(path: Path) -> Iterator[Look]:
    adapter: Any = TypeAdapter(Look)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the ledger cannot be read ({error}). Restore it, or name another.") from None
    for number, line in enumerate(lines, 1):
        try:
            yield adapter.validate_json(line)
        except ValidationError:
            raise InputError(
                f"{path}: line {number} is damaged, so it is not known how often these photos were looked at. "
                "Restore the file."
            ) from None
