"""What was found in photos before, in a SQLite file in the user's cache folder.

As JSON, what was found in a million photos would be half a gigabyte of text to read and write at once. Here a row is
read when its photo's turn comes, and written soon after it was found. It is only a memory: where it cannot be written,
the next command looks at the photos again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Found(NamedTuple):
    """What looking at a photo found.

    Attributes:
        mark: its file as it was then, and its place in it; empty if that could not be told.
        digest: SHA-256 of its bytes; empty if it cannot be used.
        problem: why it cannot be used; empty if it can.
        look: see `attar.data.leaks.look`.
        damaged: why its colour profile cannot be used; empty if it can, or has none.
    """

    mark: str
    digest: str
    problem: str = ""
    look: str = ""
    damaged: str = ""


class Findings:
    """What was found of each photo, by its name. It belongs to the thread that opened it."""

    def __init__(self, path: Path) -> None:
        """Open the memory at `path`, which is made, and made again if it is damaged."""
        self._path, self._damaged = path, False
        self._rows = _opened(path)

    def close(self) -> None:
        """Close it, and remove it if it turned out to be damaged."""
        self._rows.close()
        if self._damaged:
            self._path.unlink(missing_ok=True)

    def of(self, name: str) -> Found | None:
        """What was found of a photo; None: nothing yet."""
        try:
            row = self._rows.execute("SELECT * FROM photos WHERE name = ?", (_key(name),)).fetchone()
        except sqlite3.OperationalError:  # another command is writing
            return None
        except sqlite3.DatabaseError:
            self._damaged = True
            return None
        return Found(*row[1:]) if row else None

    def add(self, found: Sequence[tuple[str, Found]]) -> None:
        """Remember what was found of photos, by name."""
        rows = [(_key(name), *each) for name, each in found]
        try:
            with self._rows:
                self._rows.executemany("INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?)", rows)
        except (sqlite3.OperationalError, UnicodeEncodeError):  # another command is writing, or the disk is full
            pass
        except sqlite3.DatabaseError:
            self._damaged = True


def _key(name: str) -> bytes:
    """A file name that is not UTF-8 holds lone surrogates, which are no text to SQLite."""
    return name.encode("utf-8", "surrogatepass")


def _opened(path: Path) -> sqlite3.Connection:
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _prepared(sqlite3.connect(path))
        except (OSError, sqlite3.OperationalError):  # the folder cannot be written to
            break
        except sqlite3.DatabaseError:  # it is something else
            path.unlink(missing_ok=True)
    return _prepared(sqlite3.connect(":memory:"))


def _prepared(rows: sqlite3.Connection) -> sqlite3.Connection:
    try:
        rows.execute("PRAGMA synchronous = OFF")  # what a power cut destroys is found again
        rows.execute(
            "CREATE TABLE IF NOT EXISTS photos (name BLOB PRIMARY KEY, mark TEXT NOT NULL, digest TEXT NOT NULL, "
            "problem TEXT NOT NULL, look TEXT NOT NULL, damaged TEXT NOT NULL) WITHOUT ROWID"
        )
        form = [column[1] for column in rows.execute("PRAGMA table_info(photos)")]
        if form != ["name", *Found._fields]:
            raise sqlite3.DatabaseError("a table of another form")
    except sqlite3.Error:
        rows.close()
        raise
    return rows
