"""The copy of remote shards and tables in the user's cache folder: fetched once, gone on with, kept within a limit.

    ~/.cache/attar/remote/<digest of the address>/
        about.json    the address, and size and tag of each of its files
        files/        the files, below their own names; `.part` while they are incomplete

A file is fetched in pieces. A piece that fails, comes short or does not come is asked for again, with growing pauses;
what was fetched stays, so a command that was interrupted goes on there. A file whose tag changed at its store is
fetched anew. If the store cannot be reached and the copy is complete, the copy is used, and that is said.

The limit (`ATTAR_REMOTE_CACHE`, 200 GB by default) holds for all copies together: those that were not used for the
longest are removed first, and never one that another process uses.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from attar.console import Step, bar, say
from attar.data import remote
from attar.data.remote import Place, RemoteFile
from attar.errors import AttarError, InputError, in_line
from attar.files import inside, make_folder, read_object, remove, size, write_json, writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Result = TypeVar("Result")

LIMIT = "ATTAR_REMOTE_CACHE"
"""The environment variable with the size that all copies together may have."""
DEFAULT_LIMIT = 200 * 10**9
SPARE = 1 << 30
"""Bytes that stay free on the disk."""
PIECE = 16 << 20
"""Bytes of a request."""
STREAMS = 4
"""Files that are fetched at the same time."""
TRIES = 7
"""Requests for a piece, before it is given up: over a minute of pauses."""
FIRST_PAUSE = 0.5
"""Seconds before the second request; each later pause is twice as long, and up to half as long again."""
_FINAL = (AttarError, FileNotFoundError, PermissionError, NotADirectoryError)
"""Errors that stay what they are when asked again."""
_PASSING = (408, 425, 429)
"""Answers of a web server below 500 that may be another one later."""
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}

_held: dict[Path, int] = {}
"""Copies that this process uses, and the locks that say so."""


def local_copy(address: str) -> Path:
    """The path on this machine that means what an address means; its files are fetched first where need be.

    Raises:
        InputError: the address, its files, or the room for them (see the modules `remote` and `mirror`).
        MissingExtra: the package that reaches the store is not installed.
    """
    place = remote.place_of(address)
    folder = remote.copy_folder(address)
    make_folder(folder / "files")
    with FileLock(folder / ".lock"):
        _hold(folder)
        mirror = Mirror(folder, place)
        files = remote.connected(place)
        try:
            # Whoever works without a network has a copy, and is not kept waiting.
            wanted = patiently(lambda: remote.listed(files, place), tries=2 if mirror.complete() else None)
        except Exception as error:
            if isinstance(error, AttarError) or not mirror.complete():
                raise remote.explained(error, place) from error
            say(f"Warning: {in_line(address)} cannot be reached. Its copy in {folder} is used; it may be out of date.")
        else:
            mirror.bring(files, wanted)
    return remote.here(address)


class Mirror:
    """The copy of one place."""

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder, self._place = folder, place
        self._stopped = threading.Event()

    def complete(self) -> bool:
        """Whether every file of the last listing is here."""
        known = self._known()
        return bool(known) and all(self._has(name, size) for name, (size, _) in known.items())

    def bring(self, files: Any, wanted: list[RemoteFile]) -> None:
        """Make the copy what the store has."""
        known = self._known()
        content = {each.name: [each.size, each.tag] for each in wanted}
        if blind := next((each.name for each in wanted if not each.tag and each.name in known), None):
            say(
                f"Warning: {in_line(self._place.address)}: the server does not say when {in_line(blind)} changes (no "
                f"ETag, no Last-Modified). Only another size is noticed. Remove {self._folder} to fetch the files anew."
            )
        for name in set(known) - {name for name, about in content.items() if known.get(name) == about}:
            self._path(name).unlink(missing_ok=True)
            self._part(name).unlink(missing_ok=True)
        missing = [each for each in wanted if not self._has(each.name, each.size)]
        if missing:
            need = sum(each.size for each in missing)
            _make_room(self._folder, sum(each.size for each in wanted), need)
            say(f"Copying {len(missing)} files, {need / 1e6:,.1f} MB, from {in_line(self._place.address)}")
        write_json(self._folder / "about.json", {"address": self._place.address, "files": content})
        if missing:
            self._fetch(files, missing)

    def _fetch(self, files: Any, missing: list[RemoteFile]) -> None:
        pieces = sum(-(-each.size // PIECE) for each in missing)
        with bar("Copying photos", pieces) as step, ThreadPoolExecutor(STREAMS) as pool:
            try:
                for _ in pool.map(lambda each: self._fetch_one(files, each, step), missing):
                    pass
            except BaseException as error:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                if isinstance(error, Exception):
                    raise remote.explained(error, self._place) from error
                raise

    def _fetch_one(self, files: Any, wanted: RemoteFile, step: Step) -> None:
        part = self._part(wanted.name)
        make_folder(part.parent)
        with writing(part):
            done = part.stat().st_size if part.is_file() else 0
            if done > wanted.size or not done:
                part.write_bytes(b"")
                done = 0
        while done < wanted.size:
            piece = patiently(partial(_piece, files, wanted, done), self._stopped)
            with writing(part), part.open("ab") as stream:
                stream.write(piece)
            done += len(piece)
            step()
        again = patiently(partial(remote.info, files, wanted.address), self._stopped)
        if again is None or remote.tag_of(again) != wanted.tag:
            part.unlink()
            raise InputError(
                f"{in_line(self._place.address)}: {in_line(wanted.name)} changed while it was copied. Run the same "
                "command again once it is whole."
            )
        part.rename(self._path(wanted.name))

    def _known(self) -> dict[str, list[Any]]:
        try:
            known = read_object(self._folder / "about.json").get("files")
        except InputError:  # none yet, or damaged: everything is looked at anew
            return {}
        return known if isinstance(known, dict) else {}

    def _has(self, name: str, size: int) -> bool:
        path = self._path(name)
        return path.is_file() and path.stat().st_size == size

    def _path(self, name: str) -> Path:
        return inside(self._folder / "files", name, self._folder / "about.json")

    def _part(self, name: str) -> Path:
        path = self._path(name)
        return path.with_name(f"{path.name}.part")


def _piece(files: Any, wanted: RemoteFile, start: int) -> bytes:
    end = min(start + PIECE, wanted.size)
    piece: bytes = files.cat_file(wanted.address, start=start, end=end)
    if len(piece) != end - start:
        raise OSError(f"{wanted.name}: {len(piece):,} bytes came of {end - start:,}")
    return piece


def patiently(
    request: Callable[[], Result], stopped: threading.Event | None = None, tries: int | None = None
) -> Result:
    """The result of a request, made again with growing pauses while it fails.

    Raises:
        what the last request raised, or the first that cannot be mended by asking again.
    """
    pause = FIRST_PAUSE
    for left in reversed(range(tries or TRIES)):
        try:
            return request()
        except Exception as error:
            if not left or _is_final(error):
                raise
        (stopped or threading.Event()).wait(pause * (1 + random.random() / 2))
        if stopped and stopped.is_set():
            raise InterruptedError("another file could not be copied")
        pause *= 2
    raise AssertionError


def _is_final(error: Exception) -> bool:
    status = getattr(error, "status", 0)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in _PASSING
    return refused or isinstance(error, _FINAL) or "credential" in type(error).__name__.lower()


# --- room ----------------------------------------------------------------------------------------


def limit() -> int:
    """Bytes that all copies together may have.

    Raises:
        InputError: `ATTAR_REMOTE_CACHE` is no size.
    """
    asked = os.environ.get(LIMIT)
    if not asked:
        return DEFAULT_LIMIT
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)\s*([kmgt]?b)?", asked.strip().lower(), re.ASCII)
    if not found:
        raise InputError(f"{LIMIT}={asked}: not a size such as 500MB or 2TB.")
    return int(float(found[1]) * _UNITS[found[2] or "b"])


def _make_room(own: Path, total: int, need: int) -> None:
    """Remove other copies, the one that was not used for the longest first, until a copy of `total` bytes fits."""
    most = limit()
    if total > most:
        raise InputError(
            f"The photos have {total / 1e9:,.2f} GB, and copies of remote photos may have {most / 1e9:,.2f} GB. Set "
            f"{LIMIT} to more, or name fewer files by a pattern."
        )
    others = [each for each in own.parent.iterdir() if each.is_dir() and each != own]
    others.sort(key=lambda each: _used_at(each))
    sizes = {each: size(each) for each in others}
    while sum(sizes.values()) + total > most or shutil.disk_usage(own).free < need + SPARE:
        gone = next((each for each in sizes if _removed(each)), None)
        if gone is None:
            raise InputError(
                f"{own.parent}: no room for {need / 1e9:,.2f} GB of photos. Free some space, set {LIMIT} to more than "
                f"{most / 1e9:,.2f} GB, or set XDG_CACHE_HOME to a folder on a larger disk."
            )
        say(f"Removed a copy of other remote photos to make room: {gone}")
        del sizes[gone]


def _used_at(folder: Path) -> float:
    with suppress(OSError):
        return (folder / "in-use").stat().st_mtime
    return 0.0


def _hold(folder: Path) -> None:
    """Say, for as long as this process lives, that a copy is in use."""
    path = folder / "in-use"
    path.touch()
    if fcntl and folder not in _held:
        _held[folder] = os.open(path, os.O_RDONLY)
        fcntl.flock(_held[folder], fcntl.LOCK_SH)


def _removed(folder: Path) -> bool:
    """Remove a copy, unless a process uses it; without such locks (Windows) none is removed."""
    if not fcntl:
        return False
    try:
        number = os.open(folder / "in-use", os.O_RDONLY)
    except FileNotFoundError:  # its process is only beginning, or was killed then
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(folder)
    except BlockingIOError:
        return False
    finally:
        os.close(number)
    return not folder.exists()
