"""Writing files so that a reader sees the old one or the new one, never half of either.

A result is written to a temporary sibling, flushed to disk, and renamed into place. A process killed
at any moment leaves at most a `.tmp-*` sibling behind, which the next writer of the same name removes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attar.errors import InputError


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder as the hash over its sorted (relative name, content) pairs."""
    if path.is_dir():
        digest = hashlib.sha256()
        for item in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(item.relative_to(path).as_posix().encode() + b"\0")
            digest.update(bytes.fromhex(sha256(item)))
        return digest.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write a file or a folder to; on success it becomes `path`.

    An error inside the block removes the sibling and leaves what stood at `path` untouched. A full
    disk (ENOSPC) or a read-only folder is reported as an `InputError` naming `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
        _flush(temporary)
        if path.is_dir() and not path.is_symlink():
            # A folder cannot be renamed over a full one: move the old one aside first.
            old = path.with_name(f".tmp-old-{path.name}")
            _remove(old)
            path.rename(old)
            temporary.rename(path)
            _remove(old)
        else:
            temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise _explained(error, path) from error
    except BaseException:
        _remove(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, in a form that diffs well."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is an `InputError` naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not readable as JSON ({error}). The file was cut short or edited; make it again."
        ) from error


def _flush(path: Path) -> None:
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(item, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _explained(error: OSError, path: Path) -> InputError:
    remedies = {
        errno.ENOSPC: "the disk is full. Free some space and run the same command again; it continues.",
        errno.EDQUOT: "the disk quota is used up. Free some space and run the same command again.",
        errno.EACCES: "no permission to write there. Choose another output folder.",
        errno.EPERM: "no permission to write there. Choose another output folder.",
        errno.EROFS: "the file system is read-only. Choose another output folder.",
    }
    return InputError(f"{path}: {remedies.get(error.errno or 0, str(error))}")
