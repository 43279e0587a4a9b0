"""What lies below a folder: photos by their names, folders, and what is left out and why. Nothing is opened.

Links are followed, and each folder is entered once, so links cannot run in a circle. Folders that systems and tools
leave behind, and folders that attar wrote, are left out at any depth.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attar.data.images import SUFFIXES
from attar.errors import InputError
from attar.files import read_json

_SYSTEM_FOLDERS = frozenset(
    (
        "__macosx",
        "@eadir",
        "@recycle",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "lost+found",
        "system volume information",
        "__pycache__",
    )
)
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_WRITTEN = {
    "run.json": ({"recipe"}, "a run of attar"),
    "bundle.json": ({"architecture", "labels"}, "a model that attar wrote"),
    "manifest.json": ({"files", "bundle"}, "files that attar exported"),
}
"""Files by which a folder of attar's is known, keys that stand in each, and what the folder is."""

READ_ALREADY = "a link to a folder that is read already"
NO_TARGET = "a link to nothing"


@dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why."""

    path: Path
    reason: str


@dataclass
class Folder:
    """A folder's own content; `folders` are its subfolders, in the order of their names."""

    path: Path
    photos: list[Path] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    """Files that are no photos by their names, counted by suffix (lower case; empty for none)."""
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name, as its parent lists it."""
        return self.path.name

    def walk(self) -> Iterator[Folder]:
        """The folder itself and all below it."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders)

    def all_photos(self) -> list[Path]:
        """Photos in it and below it, sorted by path."""
        return sorted(photo for folder in self.walk() for photo in folder.photos)

    def with_photos(self) -> list[Folder]:
        """The subfolders that hold photos at any depth."""
        return [each for each in self.folders if any(folder.photos for folder in each.walk())]

    def all_skipped(self) -> list[Skipped]:
        """What was left out of it and of what is below it."""
        return [item for folder in self.walk() for item in folder.skipped]

    def all_others(self) -> Counter[str]:
        """Files that are no photos by their names, counted by suffix, in it and below it."""
        return sum((folder.others for folder in self.walk()), Counter())


def scan(root: Path, without: Path | None = None) -> Folder:
    """Everything below `root`, but for the folder `without`.

    Raises:
        InputError: `root` is a folder that attar wrote, or a folder cannot be read.
    """
    top = Folder(root)
    waiting: deque[tuple[Folder | None, Folder]] = deque([(None, top)])
    links: deque[tuple[Folder | None, Folder]] = deque()
    entered = set() if without is None or not without.is_dir() else {_identity(without)}
    hidden = set(entered)
    while waiting or links:
        # Real folders first: where one is linked to besides, its photos stay in the folder they lie in.
        parent, folder = (waiting or links).popleft()
        reason = None
        if (identity := _identity(folder.path)) in entered:
            reason = READ_ALREADY
        else:
            entered.add(identity)
            reason = _list(folder, waiting, links)
        if reason is None and parent is not None:
            parent.folders.append(folder)
        elif parent is not None and identity not in hidden:
            parent.skipped.append(Skipped(folder.path, reason or ""))
        elif parent is None and reason is not None and identity not in hidden:
            raise InputError(f"{root}: {reason}, not a folder of photos. Give the folder that holds the photos.")
    for each in top.walk():
        each.folders.sort(key=lambda folder: folder.path)
    return top


def _list(folder: Folder, waiting: deque[Any], links: deque[Any]) -> str | None:
    """Fill in a folder's content and queue its subfolders; returns why it is to be left out, or None."""
    try:
        with os.scandir(folder.path) as entries:
            content = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"{folder.path}: cannot be read ({error.strerror}). Allow reading it, or move it out of the photos."
        ) from error
    written = next((entry.name for entry in content if entry.name in _WRITTEN and _is_ours(entry)), None)
    if written is not None:
        return _WRITTEN[written][1]
    for entry in content:
        kind = _kind(entry)
        if kind == "folder":
            child = Folder(folder.path / entry.name)
            if entry.name.startswith(".") or entry.name.lower() in _SYSTEM_FOLDERS:
                folder.skipped.append(Skipped(child.path, "a folder of the system or of a tool"))
            else:
                (links if entry.is_symlink() else waiting).append((folder, child))
        elif not entry.name.startswith(".") and entry.name.lower() not in _SYSTEM_FILES:
            _sort_in(folder, folder.path / entry.name, kind)
    return None


def _sort_in(folder: Folder, path: Path, kind: str) -> None:
    """Put a file, or what is neither file nor folder, where it belongs."""
    suffix = path.suffix.lower()
    if kind == "odd":
        folder.skipped.append(Skipped(path, "neither a file nor a folder, so it is not opened"))
    elif suffix in SUFFIXES:
        folder.photos.append(path)  # a broken link is named when it is to be read
    elif kind == "nothing":
        folder.skipped.append(Skipped(path, NO_TARGET))
    else:
        folder.others[suffix] += 1


def _kind(entry: os.DirEntry[str]) -> str:
    """`folder`, `file`, `nothing` (a link whose target is not there), or `odd`: a FIFO, a socket, a device."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "odd" if Path(entry.path).exists() else "nothing"
    except OSError:  # links in a circle
        return "nothing"


def _identity(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    return stat.st_dev, stat.st_ino


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_file() or entry.stat().st_size > 50_000_000:
            return False
        document = read_json(Path(entry.path))
    except (OSError, InputError):
        return False
    return isinstance(document, dict) and _WRITTEN[entry.name][0] <= document.keys()
