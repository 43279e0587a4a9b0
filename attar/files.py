"""Writing files so that a reader sees the old one or the new one, never half of either.

A result is written to a temporary sibling, flushed to disk, and renamed into place. A process killed
at any moment leaves at most `.tmp-*` siblings behind, which the next writer of the same name removes.
A folder takes two renames; killed between them, the next writer first puts the old folder back.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.errors import AttarError, InputError

if TYPE_CHECKING:
    import numpy as np


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder as the hash over its sorted (relative name, content) pairs.

    What Python leaves beside a `.py` file when it is imported (`__pycache__`) does not count. Links, empty folders and
    what else is no plain file count by their names and kinds: attar writes none of them.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for item in sorted(path.rglob("*")):
            if _is_imported(item, path):
                continue
            name = item.relative_to(path).as_posix().encode("utf-8", "surrogateescape")
            if item.is_file() and not item.is_symlink():
                digest.update(name + b"\0" + bytes.fromhex(sha256(item)))
            elif item.is_symlink() or not item.is_dir() or not any(item.iterdir()):
                digest.update(name + b"\0not a plain file\0")
        return digest.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_imported(item: Path, folder: Path) -> bool:
    """Whether it lies in a `__pycache__` (or is one) below `folder` that has Python files beside it."""
    parts = item.relative_to(folder).parts
    if "__pycache__" not in parts:
        return False
    return any(folder.joinpath(*parts[: parts.index("__pycache__")]).glob("*.py"))


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def user_cache() -> Path:
    """Where what can be made again is remembered between runs: a folder of the user's, which may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attar"


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value in canonical form."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def digest_of_each(values: Iterable[Any]) -> str:
    """`digest_of` the list of these values, without its text at once: that of a million photos is hundreds of MB."""
    digest = hashlib.sha256(b"[")
    for i, value in enumerate(values):
        digest.update((b"," if i else b"") + _canonical(value))
    digest.update(b"]")
    return digest.hexdigest()


def _canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # File names that are not UTF-8 arrive as lone surrogates.
    return text.encode("utf-8", "surrogatepass")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write a file or a folder to; on success it becomes `path`.

    An error inside the block removes the sibling and leaves what stood at `path` untouched. A full
    disk (ENOSPC) or a read-only folder is reported as an `InputError` naming `path`. Two processes may
    write the same path at once: each writes a sibling of its own, and the last to finish wins.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _recover(path)
        remove(temporary)
        yield temporary
        _flush(temporary)
        if path.is_dir() and not path.is_symlink():
            # A folder cannot be renamed over a full one: move the old one aside first.
            path.rename(_old(path))
            temporary.rename(path)
        else:
            temporary.replace(path)
        remove(_old(path))
    except Exception as error:
        # An error of ours may be about what the disk said. Asked before the sibling goes, and its space is free again.
        full = _is_full(path, error.__cause__ or error)
        _undo(temporary, path)
        if full:
            raise _explained(OSError(errno.ENOSPC, ""), path) from error
        if isinstance(error, OSError):
            raise _explained(error, path) from error
        raise
    except BaseException:
        _undo(temporary, path)
        raise


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`, for what is to be renamed to a place on the same disk.

    Removed at the end of the block; after a process that was killed, by the next one that wants one there.
    """
    path = folder / "scratch"
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    make_folder(temporary)
    try:
        _recover(path)
        yield temporary
    finally:
        remove(temporary)


def make_folder(path: Path) -> None:
    """Make a folder and its parents; what prevents it is an `InputError` naming it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _explained(error, path) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What a disk refuses to write in this block is an `InputError` naming `path`."""
    try:
        yield
    except OSError as error:
        raise _explained(error, path) from error


def inside(folder: Path, name: Any, source: Path) -> Path:
    """The place in `folder` that a file of ours names: `InputError` unless it is below the folder.

    What a manifest or an index names may come from anyone. Nothing that it names is read, written or removed before
    it has gone through here.

    Args:
        folder: what the name is relative to.
        name: as read.
        source: the file that names it, for the message.
    """
    fit = isinstance(name, str) and name not in ("", ".") and "\0" not in name and not Path(name).is_absolute()
    if not fit or ".." in Path(name).parts or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{source}: names {str(name)[:80]!r}, which is not inside {folder}. It is damaged, or not to be trusted."
        )
    return folder / name


def require_writable(folder: Path, option: str) -> None:
    """`InputError` unless files can be written to a folder, or it can be made; `option` names another one."""
    existing = next((each for each in (folder, *folder.absolute().parents) if each.exists()), folder)
    effective = os.access in os.supports_effective_ids
    if not os.access(existing, os.W_OK, effective_ids=effective):
        raise InputError(f"{folder}: nothing can be written there. Choose another folder with {option}.")


def refuses_writing(error: BaseException) -> bool:
    """Whether an error of `replacing` says that the place is read-only to this user."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush_names(folder: Path) -> None:
    """Put onto the disk which files a folder has: after a power cut, a rename before this may be undone, none after it.

    Nothing happens where the system does not open folders (Windows), or the disk or its rights do not allow it.
    """
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM):
            raise _explained(error, folder) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically. Bytes of a file name that are no text are written as `\\udcXX`."""
    with replacing(path) as temporary:
        # In JSON that is the escape of the same character, so such names survive a round trip.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, in a form that diffs well."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file atomically, of an array without Python objects."""
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb", buffering=0) as stream:
        np.save(_Writer(stream), array, allow_pickle=False)


class _Writer:
    """A file that NumPy does not know for one: it then writes through Python, whose errors say why (`OSError.errno`).

    `numpy.ndarray.tofile` only says how much it wrote: of a full disk as of a file size limit or a broken disk.
    """

    def __init__(self, stream: io.FileIO) -> None:
        self._stream = stream

    def write(self, content: bytes) -> int:
        rest = memoryview(content)
        while rest:
            rest = rest[self._stream.write(rest) :]
        return len(content)


MAX_JSON = 1 << 28
"""Bytes of a JSON file of ours: a manifest of ten thousand classes has one megabyte, a guide of golden answers ten."""


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises:
        InputError: it is missing, no plain file, too large, cut short or damaged; or it holds what attar never writes:
            a key twice, or numbers that are not finite.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no file. Remove it, and make it again.")
        if (size := path.stat().st_size) > MAX_JSON:
            raise InputError(f"{path}: {size >> 20} MB, which no file of this name has. Make it again.")
        return json.loads(path.read_bytes(), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise InputError(
            f"{path}: not readable as JSON ({error}). The file was cut short or edited; make it again."
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """The same of a file that holds an object; an `InputError` if it holds something else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object. The file was edited; make it again.")
    return value


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with the digest of all of it as its key `sha256`."""
    value = json.loads(json_text(value))  # as it will be read
    write_json(path, {**value, "sha256": digest_of(value)})


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote, without the digest; an `InputError` if a bit of it changed."""
    value = read_object(path)
    if value.pop("sha256", None) != digest_of(value):
        raise InputError(f"{path}: damaged or edited: its own checksum is another one. Make it again.")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key is there twice")
    return mapping


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _old(path: Path) -> Path:
    return path.with_name(f".tmp-old-{path.name}")


def _recover(path: Path) -> None:
    """Tidy up after writers of `path` that were killed."""
    if _old(path).exists() and not path.exists():
        _old(path).rename(path)
    remove(_old(path))
    for sibling in path.parent.iterdir():
        owner = re.fullmatch(r"\.tmp-(\d+)-" + re.escape(path.name), sibling.name)
        if owner and not _runs(int(owner[1])):
            remove(sibling)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _undo(temporary: Path, path: Path) -> None:
    try:
        remove(temporary)
        if _old(path).exists() and not path.exists():
            _old(path).rename(path)
    except OSError:
        pass  # the error that brought us here is the one to report


def _is_full(path: Path, error: BaseException) -> bool:
    """Whether the disk is full; writers in C++ and Rust say so in words of their own."""
    if isinstance(error, AttarError):
        return False
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    if re.search(r"No space left|StorageFull|os error 28", str(error)):
        return True
    # torch.save only says "iostream error" or "unexpected pos".
    return isinstance(error, RuntimeError) and shutil.disk_usage(path.parent).free < 1 << 16


def _flush(path: Path) -> None:
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(item, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _explained(error: OSError, path: Path) -> InputError:
    remedies = {
        errno.ENOSPC: "the disk is full. Free some space and run the same command again; it continues.",
        errno.EDQUOT: "the disk quota is used up. Free some space and run the same command again.",
        errno.EACCES: "no permission to write there. Choose another output folder.",
        errno.EPERM: "no permission to write there. Choose another output folder.",
        errno.EROFS: "the file system is read-only. Choose another output folder.",
        errno.EFBIG: "larger than the file size limit (ulimit -f). Raise it, or choose another disk.",
        errno.ENOTDIR: "a file stands where a folder is needed. Choose another output folder.",
        errno.EEXIST: "a file stands where a folder is needed. Choose another output folder.",
    }
    return InputError(f"{path}: {remedies.get(error.errno or 0, str(error))}")
