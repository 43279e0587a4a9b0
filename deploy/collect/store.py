"""The folder that observations are kept in: one SQLite file, and photos by their content.

    collect.sqlite        invitations, observations, decisions, doubts, what other models say of the photos
    photos/ab/ab12….jpg   each photo once, whoever sent it

An observation counts as kept once its photo and then its row are on the disk (fsync; SQLite with `synchronous=FULL`).
Killed in between, a photo without a row is left, which the next sender of the same photo uses. Nothing is ever changed:
what a reviewer decides is a row of its own, and so is taking it back.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from attar.data.observations import Observation, one_line, read_observation
from attar.errors import InputError
from attar.files import digest_of, make_folder, write_bytes

NAME = "collect.sqlite"
VERSION = 3
QUOTA = 10_000
"""Observations that an invitation allows, unless it says otherwise."""
_WAIT_SECONDS = 30.0

_TABLES = (
    """CREATE TABLE invitations (
      token TEXT PRIMARY KEY, contributor TEXT NOT NULL UNIQUE, made TEXT NOT NULL, quota INTEGER NOT NULL,
      revoked TEXT
    ) STRICT""",
    """CREATE TABLE observations (
      number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, photo TEXT NOT NULL,
      contributor TEXT NOT NULL, received TEXT NOT NULL, content TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX observations_of ON observations (contributor)",
    """CREATE TABLE decisions (
      number INTEGER PRIMARY KEY AUTOINCREMENT, observation TEXT NOT NULL REFERENCES observations (id),
      reviewer TEXT NOT NULL, action TEXT NOT NULL, label TEXT NOT NULL, made TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX decisions_of ON decisions (observation)",
    """CREATE TABLE opinions (
      number INTEGER PRIMARY KEY AUTOINCREMENT, photo TEXT NOT NULL, model TEXT NOT NULL, answers TEXT NOT NULL,
      UNIQUE (photo, model)
    ) STRICT""",
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    *(
        f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
        f"SELECT RAISE(ABORT, '{table} are only added'); END"
        for table in ("observations", "decisions")
        for verb in ("UPDATE", "DELETE")
    ),
)
"""Of version 1."""

_CHANGES = {
    2: (
        """CREATE TABLE doubts (
          number INTEGER PRIMARY KEY AUTOINCREMENT, observation TEXT NOT NULL REFERENCES observations (id),
          seen INTEGER NOT NULL, reason TEXT NOT NULL, made TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX doubts_of ON doubts (observation)",
    ),
    # Only what came by an invitation counts towards its quota. Before this version, nobody knew what did.
    3: ("ALTER TABLE observations ADD COLUMN invited INTEGER NOT NULL DEFAULT 1",),
}
"""What each later version has and the one before had not."""


Opinion = list[tuple[str, float]]
"""What a model says of a photo: its likeliest labels with their probabilities; none if it could not read the photo."""


class Refused(Exception):
    """An observation that is not taken; its text is for the sender."""


class NotAllowed(Refused):
    """The invitation allows no more. The observation itself may be good."""


class Kept(StrEnum):
    """What became of an observation that was sent."""

    NEW = "new"
    KNOWN = "known"
    """It was sent before, the same to the byte."""


class Action(StrEnum):
    """What a reviewer decided."""

    ACCEPT = "accept"
    RELABEL = "relabel"
    REJECT = "reject"
    UNDO = "undo"
    """The decision before it does not count any more."""


@dataclass(frozen=True)
class Invitation:
    """Who may send, how much, and how much they have sent by it; `revoked` is when that ended, if it did."""

    contributor: str
    made: str
    quota: int
    used: int
    revoked: str | None


@dataclass(frozen=True)
class Stored:
    """An observation as it is kept.

    Attributes:
        number: in the order of arrival, from 1.
        photo: SHA-256 of the kept photo, from which metadata was removed; `observation.image` is of what was sent.
        received: when it arrived.
    """

    number: int
    observation: Observation
    photo: str
    received: str


@dataclass(frozen=True)
class Doubt:
    """A label that a program thinks may be wrong.

    Attributes:
        seen: number of the observation's last decision when that was found; 0 if there was none. A later decision
            answers the doubt.
        reason: for the reviewer.
    """

    number: int
    seen: int
    reason: str


@dataclass(frozen=True)
class Decision:
    """What a reviewer decided about an observation."""

    number: int
    reviewer: str
    action: Action
    label: str
    made: str


class Store:
    """An open folder of observations; see `opened`."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection

    # --- invitations -----------------------------------------------------------------------------

    def invite(self, contributor: str, quota: int = QUOTA) -> str:
        """A new invitation -> its token, which only the person invited has: the store keeps a hash.

        Raises:
            InputError: the contributor has one already.
        """
        token = secrets.token_urlsafe(24)
        row = (_hash(token), contributor, _now(), quota, None)
        try:
            with self._connection:
                self._connection.execute("INSERT INTO invitations VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise InputError(f"{contributor} has an invitation already. Take another name, or revoke it.") from error
        return token

    def revoke(self, contributor: str) -> None:
        """End an invitation; what came by it stays.

        Raises:
            InputError: nobody of that name was invited.
        """
        with self._connection:
            query = "UPDATE invitations SET revoked = ? WHERE contributor = ? AND revoked IS NULL"
            done = self._connection.execute(query, (_now(), contributor)).rowcount
        if not done:
            raise InputError(f"{contributor}: nobody of this name has an invitation that can be revoked.")

    def invitations(self) -> list[Invitation]:
        """All of them, the oldest first."""
        query = """SELECT contributor, made, quota,
          (SELECT count(*) FROM observations o WHERE o.contributor = invitations.contributor AND o.invited), revoked
          FROM invitations ORDER BY made, contributor"""
        return [Invitation(*row) for row in self._connection.execute(query)]

    def contributor(self, token: str) -> str | None:
        """Whose token this is; None if it is nobody's, or was revoked."""
        hashed = _hash(token)
        query = "SELECT token, contributor FROM invitations WHERE token = ? AND revoked IS NULL"
        row = self._connection.execute(query, (hashed,)).fetchone()
        return row[1] if row and hmac.compare_digest(row[0], hashed) else None

    @property
    def address(self) -> str | None:
        """Where phones reached the server last; None if it never ran."""
        return self._setting("address")

    @address.setter
    def address(self, value: str) -> None:
        self._set("address", value)

    @property
    def page(self) -> str | None:
        """Where the app is that invitations open; None if nobody has said."""
        return self._setting("page")

    @page.setter
    def page(self, value: str) -> None:
        self._set("page", value)

    def _setting(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def _set(self, name: str, value: str) -> None:
        with self._connection:
            self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    # --- observations ----------------------------------------------------------------------------

    def add(self, observation: Observation, photo: bytes, sent: str, *, invited: bool = True) -> Kept:
        """Keep an observation with its photo. When this returns, both are on the disk.

        Args:
            observation: with the contributor that the invitation names.
            photo: a JPEG without metadata.
            sent: SHA-256 of the photo's file as it arrived.
            invited: whether it came by an invitation, which has to allow it and towards whose quota it counts.

        Raises:
            Refused: the photo is not the one that the observation names, or the id was used for another observation.
            NotAllowed: the contributor has sent as much as allowed.
        """
        if sent != observation.image:
            raise Refused("The photo is not the one that the observation names: its SHA-256 differs.")
        digest = digest_of(observation.model_dump(mode="json"))
        name = hashlib.sha256(photo).hexdigest()
        with self._connection:
            # From here on senders take turns, so that two with the same photo or id do not meet.
            self._connection.execute("BEGIN IMMEDIATE")
            if known := self._known(observation, digest):
                return known
            if invited:
                self._allow(observation.contributor)
            path = self.photo(name)
            if not path.exists():
                write_bytes(path, photo)
            content = observation.model_dump_json()
            row = (str(observation.id), digest, name, observation.contributor, _now(), content, invited)
            columns = "(id, digest, photo, contributor, received, content, invited)"
            self._connection.execute(f"INSERT INTO observations {columns} VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return Kept.NEW

    def _known(self, observation: Observation, digest: str) -> Kept | None:
        row = self._connection.execute(
            "SELECT digest FROM observations WHERE id = ?", (str(observation.id),)
        ).fetchone()
        if row and row[0] != digest:
            raise Refused("Another observation has this id. Each needs an id of its own.")
        return Kept.KNOWN if row else None

    def _allow(self, contributor: str) -> None:
        query = "SELECT quota FROM invitations WHERE contributor = ? AND revoked IS NULL"
        allowed = self._connection.execute(query, (contributor,)).fetchone()
        used = self._connection.execute(
            "SELECT count(*) FROM observations WHERE contributor = ? AND invited", (contributor,)
        ).fetchone()[0]
        if not allowed or used >= allowed[0]:
            raise NotAllowed("This invitation is used up, or was revoked. Ask who gave it to you for another.")

    def photo(self, name: str) -> Path:
        """Where the photo of this SHA-256 lies."""
        return self.folder / "photos" / name[:2] / f"{name}.jpg"

    def observations(self, after: int = 0) -> Iterator[Stored]:
        """All of them in the order of arrival, from the one after number `after` on."""
        query = "SELECT number, photo, received, content FROM observations WHERE number > ? ORDER BY number"
        for number, photo, received, content in self._connection.execute(query, (after,)):
            observation = read_observation(json.loads(content), f"{self.folder / NAME}, observation {number}")
            yield Stored(number, observation, photo, received)

    def one(self, id: str) -> Stored | None:
        """The observation of this id, if there is one."""
        row = self._connection.execute("SELECT number FROM observations WHERE id = ?", (id,)).fetchone()
        return next(self.observations(after=row[0] - 1)) if row else None

    # --- decisions -------------------------------------------------------------------------------

    def decide(self, observation: str, reviewer: str, action: Action, label: str = "", seen: int = 0) -> int:
        """Write down what a reviewer decided -> the decision's number.

        Args:
            observation: its id.
            reviewer: who decides.
            action: what.
            label: the right label, if it is `relabel`.
            seen: number of the last decision that the reviewer knew of; 0 if there was none.

        Raises:
            Refused: somebody else has decided meanwhile, or it is no decision; nothing is written.
        """
        _refuse_odd(reviewer, action, label)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if self.one(observation) is None:
                raise Refused(f"No observation has the id {observation[:80]!r}.")
            last = self.decisions(observation)
            if (last[-1].number if last else 0) != seen:
                raise Refused(_meanwhile(last))
            if action is Action.UNDO and in_force(last) is None:
                raise Refused("There is no decision to take back.")
            row = (observation, reviewer, action.value, label, _now())
            done = self._connection.execute(
                "INSERT INTO decisions (observation, reviewer, action, label, made) VALUES (?, ?, ?, ?, ?)", row
            )
        assert done.lastrowid
        return done.lastrowid

    def decisions(self, observation: str) -> list[Decision]:
        """Everything that was decided about an observation, in order."""
        query = "SELECT number, reviewer, action, label, made FROM decisions WHERE observation = ? ORDER BY number"
        rows = self._connection.execute(query, (observation,))
        return [Decision(number, who, Action(action), label, made) for number, who, action, label, made in rows]

    def decided(self, after: int = 0) -> Iterator[tuple[str, Decision]]:
        """All decisions in their order, with the observations' ids, from the one after number `after` on."""
        query = """SELECT observation, number, reviewer, action, label, made FROM decisions
          WHERE number > ? ORDER BY number"""
        for observation, number, who, action, label, made in self._connection.execute(query, (after,)):
            yield observation, Decision(number, who, Action(action), label, made)

    def doubt(self, observation: str, reason: str) -> bool:
        """Ask reviewers to look at a label again -> False if that is asked already."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            last = self.decisions(observation)
            seen = last[-1].number if last else 0
            query = "SELECT max(seen) FROM doubts WHERE observation = ?"
            asked = self._connection.execute(query, (observation,)).fetchone()[0]
            if asked == seen:
                return False
            row = (observation, seen, reason, _now())
            self._connection.execute("INSERT INTO doubts (observation, seen, reason, made) VALUES (?, ?, ?, ?)", row)
        return True

    def doubts(self, after: int = 0) -> Iterator[tuple[str, Doubt]]:
        """All doubts in their order, with the observations' ids, from the one after number `after` on."""
        query = "SELECT observation, number, seen, reason FROM doubts WHERE number > ? ORDER BY number"
        for observation, number, seen, reason in self._connection.execute(query, (after,)):
            yield observation, Doubt(number, seen, reason)

    # --- what other models say -------------------------------------------------------------------

    def without_opinion(self, model: str) -> list[str]:
        """SHA-256 of the photos that a model was not asked about, in the order of arrival."""
        query = """SELECT photo FROM observations WHERE photo NOT IN (SELECT photo FROM opinions WHERE model = ?)
          GROUP BY photo ORDER BY min(number)"""
        return [row[0] for row in self._connection.execute(query, (model,))]

    def keep_opinions(self, model: str, opinions: Mapping[str, Opinion]) -> None:
        """Keep a model's answers by the photo's SHA-256; what is known already stays."""
        rows = [(photo, model, json.dumps(answers)) for photo, answers in opinions.items()]
        with self._connection:
            query = "INSERT OR IGNORE INTO opinions (photo, model, answers) VALUES (?, ?, ?)"
            self._connection.executemany(query, rows)

    def opinions(self, model: str, after: int = 0) -> Iterator[tuple[int, str, Opinion]]:
        """A model's answers as (number, SHA-256 of the photo, answers), from the one after number `after` on."""
        query = "SELECT number, photo, answers FROM opinions WHERE model = ? AND number > ? ORDER BY number"
        for number, photo, answers in self._connection.execute(query, (model, after)):
            yield number, photo, [(label, share) for label, share in json.loads(answers)]


def _meanwhile(decisions: Sequence[Decision]) -> str:
    if not decisions:
        return "There is no decision yet. Load the page again."
    return f"{decisions[-1].reviewer} has decided meanwhile: {decisions[-1].action} {decisions[-1].label}".strip()


def _refuse_odd(reviewer: str, action: Action, label: str) -> None:
    try:
        if not one_line(reviewer):
            raise Refused("A decision needs the reviewer's name.")
        if (action is Action.RELABEL) != bool(one_line(label)):
            raise Refused("`relabel` needs the right label, and nothing else has one.")
    except ValueError as error:
        raise Refused(f"A name or label {error}.") from error


def in_force(decisions: Sequence[Decision]) -> Decision | None:
    """The decision that counts: the last one that was not taken back. Each `undo` takes back the last one before it."""
    standing: list[Decision] = []
    for each in decisions:
        if each.action is not Action.UNDO:
            standing.append(each)
        elif standing:
            standing.pop()
    return standing[-1] if standing else None


@contextmanager
def opened(folder: Path, create: bool = False) -> Iterator[Store]:
    """Open a folder of observations.

    Args:
        folder: the folder.
        create: make it where there is none.

    Raises:
        InputError: no such folder, or its database is something else, of a newer attar, damaged, or not writable.
    """
    path = folder / NAME
    if not create and not path.is_file():
        raise InputError(f"{folder}: no observations here. `attar collect {folder}` makes such a folder.")
    make_folder(folder)
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, check_same_thread=False)
    try:
        _prepare(connection, path)
        yield Store(folder, connection)
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: {error}. Is it a database of observations, and may it be written?") from error
    finally:
        connection.close()


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # two that open a new folder at once make its tables once
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == VERSION:
            return
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not 0 <= version <= VERSION or bool(version) != bool(tables):
            raise InputError(f"{path}: not a database of observations, or one of a newer attar (version {version}).")
        missing = [_CHANGES[each] for each in range(max(version, 1) + 1, VERSION + 1)]
        for statement in itertools.chain(() if version else _TABLES, *missing):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _hash(token: str) -> str:
    """Tokens are long and random, so a plain hash of them cannot be guessed back."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
