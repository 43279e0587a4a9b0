"""What several targets start from, such as the float file of one format: made once, by whichever asks first.

Each target is made in a process of its own, so the result is kept in a folder, under its name. The others wait at
its lock; when its maker crashes the lock is free, and the next one tries for itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock

from attar.files import digest_of

_folder: ContextVar[Path | None] = ContextVar("folder of shared artifacts", default=None)


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Keep what is `shared` in a folder for as long as this lasts; outside it, nothing is kept."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def shared(name: str, make: Callable[[], bytes]) -> bytes:
    """The bytes that `make` returns, or that it returned to the first process that asked for `name`.

    Args:
        name: identifies the content, so it holds the fingerprint of the student or its network.
        make: computes it.
    """
    path = shared_path(name, lambda path: path.write_bytes(make()))
    return path.read_bytes() if path else make()


def shared_path(name: str, make: Callable[[Path], object], suffix: str = "") -> Path | None:
    """The file or folder that `make` wrote, for whoever asked first for `name`; None where nothing is kept.

    Args:
        name: as of `shared`.
        make: writes it at a path, which ends in `suffix`.
        suffix: of the path, for formats that ask for one.
    """
    folder = _folder.get()
    if folder is None:
        return None
    path = folder / (digest_of(name) + suffix)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            partial = path.with_name(f"partial-{path.name}")
            if partial.is_dir():  # of a process that was ended
                shutil.rmtree(partial)
            make(partial)
            partial.rename(path)
    return path
