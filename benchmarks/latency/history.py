"""A database of measurements: one SQLite file to which records are only ever added.

    attar bench runs/attar --history lab.sqlite --tag v1.2
    attar history lab.sqlite --merge colleague.sqlite

A record's name is the digest of its content, so the same one is never there twice, and the files of two labs can be
merged in either order, any number of times, with the same result. A tag names runs, and a run can have several.
Beside them stands where each measured file lay on this machine: a baseline that is still there can be timed again,
side by side.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.benchmarks.latency.record import Record
from attar.errors import InputError
from attar.files import digest_of, sha256

VERSION = 1
_WAIT_SECONDS = 30.0

_TABLES = (
    """CREATE TABLE records (
      id TEXT PRIMARY KEY, run TEXT NOT NULL, sha256 TEXT NOT NULL, device TEXT NOT NULL, target TEXT NOT NULL,
      measured TEXT NOT NULL, content TEXT NOT NULL
    ) STRICT""",
    "CREATE TABLE tags (tag TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (tag, run)) STRICT",
    "CREATE TABLE places (sha256 TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (sha256, path)) STRICT",
    "CREATE INDEX records_of_file ON records (sha256, device)",
    "CREATE TRIGGER records_stay BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'records are only added'); END",
    "CREATE TRIGGER records_are_kept BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'records are only added'); END",
    f"PRAGMA user_version = {VERSION}",
)


@dataclass(frozen=True)
class Merged:
    """What merging added."""

    records: int
    tags: int


class History:
    """An open database of measurements; see `opened`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, records: Sequence[Record], tags: Sequence[str] = (), places: Sequence[Path] = ()) -> int:
        """Add records, tags of their runs and where their files lie: all or nothing -> how many were new."""
        rows = [_row(record) for record in records]
        before = self._connection.total_changes
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            added = self._connection.total_changes - before
            self._tag({(tag, record.run) for tag in tags for record in records})
            self._place({(record.sha256, str(path.resolve())) for record, path in zip(records, places)})
        return added

    def records(self, tag: str | None = None) -> list[Record]:
        """All records, or those of a tag's runs, oldest first."""
        chosen = "" if tag is None else " WHERE run IN (SELECT run FROM tags WHERE tag = ?)"
        query = f"SELECT * FROM records{chosen} ORDER BY measured, id"
        return [_read(row) for row in self._connection.execute(query, () if tag is None else (tag,))]

    def tags(self) -> dict[str, list[str]]:
        """Run -> its tags."""
        tags: dict[str, list[str]] = {}
        for tag, run in self._connection.execute("SELECT tag, run FROM tags ORDER BY tag"):
            tags.setdefault(run, []).append(tag)
        return tags

    def place(self, digest: str) -> Path | None:
        """Where a file of this content lies on this machine; None where it is gone or has changed."""
        rows = self._connection.execute("SELECT path FROM places WHERE sha256 = ? ORDER BY path", (digest,))
        paths = (Path(path) for (path,) in rows)
        return next((path for path in paths if path.is_file() and sha256(path) == digest), None)

    def merge(self, other: History) -> Merged:
        """Add what another database has and this one lacks; the other stays as it is."""
        before, tags = (set(each._connection.execute("SELECT tag, run FROM tags")) for each in (self, other))
        added = self.add(other.records())
        with self._connection:
            self._tag(tags)
        return Merged(added, len(tags - before))

    def _tag(self, pairs: set[tuple[str, str]]) -> None:
        self._connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", sorted(pairs))

    def _place(self, pairs: set[tuple[str, str]]) -> None:
        self._connection.executemany("INSERT OR IGNORE INTO places VALUES (?, ?)", sorted(pairs))


class _Damaged(InputError):
    """A measurement is not what it was; whoever knows the file adds its name."""


@contextmanager
def opened(path: Path, create: bool = False) -> Iterator[History]:
    """Open a database of measurements.

    Args:
        path: the file.
        create: make it where there is none.

    Raises:
        InputError: no such file, not a database of measurements, one of a newer attar, damaged, or not writable.
    """
    if not path.is_file() and not create:
        raise InputError(f"{path}: no such file. `attar bench EXPORTS --history {path}` makes it.")
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_WAIT_SECONDS)
        try:
            _prepare(connection, path)
            yield History(connection)
        finally:
            connection.close()
    except _Damaged as error:
        raise InputError(f"{path}: {error}") from error
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last: of a text that was damaged
        raise InputError(f"{path}: cannot be used as a database of measurements ({error}).") from error


def device_key(device: dict[str, Any]) -> str:
    """What makes two records of one device: its kind, model, processor and cores, not the versions of its software.

    Of a browser, which tells little of the device, also which browser it is, and its system, memory and GPU.
    """
    parts = [device.get(name) for name in ("kind", "model", "cpu", "machine", "cores", "serial")]
    if device.get("kind") == "browser":
        names = [re.sub(r"\s*\d[\d.]*$", "", str(device.get(name))) for name in ("browser", "os")]
        parts += [*names, device.get("memory_gb"), device.get("gpu")]
    return digest_of(parts)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is no database of measurements; make one of an empty file."""
    if _is_empty(connection, path, "BEGIN"):
        # Another process may make it at this moment, so with the lock for writing it is asked again.
        if _is_empty(connection, path, "BEGIN IMMEDIATE"):
            for statement in _TABLES:
                connection.execute(statement)
        connection.commit()
    elif problem := _problem(connection):
        raise InputError(f"{path}: damaged ({problem}). Take a copy of it from before.")


def _is_empty(connection: sqlite3.Connection, path: Path, begin: str) -> bool:
    """Whether nothing is in a file yet, as it is at one moment: the transaction that it begins goes on if so."""
    connection.execute(begin)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version > VERSION:
        raise InputError(f"{path}: made by a newer attar (version {version}; this one reads {VERSION}). Update attar.")
    if version == 0 and tables:
        raise InputError(f"{path}: an SQLite file of something else. Name another one with --history.")
    if version or begin == "BEGIN":
        connection.rollback()
    return not version


def _problem(connection: sqlite3.Connection) -> str:
    """What SQLite finds wrong with its file, in its first words; empty if nothing."""
    (problem,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    kept = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    if problem == "ok" and kept != {"records_stay", "records_are_kept"}:
        return "its rules are not those of a database of measurements"
    return "" if problem == "ok" else str(problem)


def _row(record: Record) -> tuple[str, ...]:
    value = record.to_json()
    content = json.dumps(value, sort_keys=True, allow_nan=False)
    return (value["digest"], *_columns(record), content)


def _columns(record: Record) -> tuple[str, ...]:
    """What stands in columns of its own, to be searched for."""
    return record.run, record.sha256, device_key(record.device), record.target, record.measured


def _read(row: tuple[str, ...]) -> Record:
    """The record of a row, whose other columns must be what the record says."""
    try:
        value = json.loads(row[-1])
        record = Record.from_json(value)
        if row[0] != digest_of({k: v for k, v in value.items() if k != "digest"}) or row[1:6] != _columns(record):
            raise ValueError("its name is not the digest of its content")
        return record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Damaged(
            f"a measurement in it is damaged ({error}). Take a copy of the file from before, or merge the "
            "databases of other labs into a new one."
        ) from error
