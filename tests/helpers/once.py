"""Folders that the processes of a test session share: whoever needs one first makes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """The folder at `path`, which `make` has written. Tests only read it: one that changes it takes a copy."""
    done = path.with_name(f"{path.name}.done")
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not done.exists():
            shutil.rmtree(path, ignore_errors=True)  # of a process that failed
            make(path)
            done.touch()
    return path
