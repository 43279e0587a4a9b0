"""What the phone app's "Save my observations" wrote, as observations of the person who sent the file.

The zip has metadata.csv and photos/ID.jpg (deploy/app/page/save.js). It comes from a stranger: so its directory and its
sizes are bounded before anything is unpacked, nothing is written to a path that it names, and photos are decoded as
those that are received.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attar.console import track
from attar.data.csvlist import METADATA
from attar.data.foldertree import Skipped
from attar.data.images import UnreadableImage
from attar.data.observations import Observation, Row, read_metadata
from attar.deploy.collect.cleaning import LARGEST, Cleaner
from attar.deploy.collect.imports import Imported, sender
from attar.deploy.collect.store import Kept, Refused, Store, opened
from attar.errors import InputError

MOST = 50_000
"""Files in a zip. The page begins another one at a gigabyte of photos, of some 300 kB each."""
LARGEST_TABLE = 64 << 20
"""Bytes of `metadata.csv`."""
LARGEST_ZIP = 2 << 30
"""Bytes of all files in a zip."""
_TOO_LARGE = f"has more than {MOST:,} files or {LARGEST_ZIP >> 30} GiB, which the app never saves in one zip."
_NOT_WHOLE = "not a whole zip as the app saves it. Save the observations again, or copy it anew."
_DIRECTORY = MOST * 200
"""Bytes of the zip's own list of its files: `zipfile` reads all of it at once."""
_END = struct.Struct("<4s4H2LH")
_LOCATOR = 20
"""Bytes before the end, where a zip of more than 65,535 files or 4 GB has a second end."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)
"""What `zipfile` raises for zips that are damaged, encrypted or packed in another way."""


class _Unusable(Exception):
    """A file in the zip that is not read; its text says why."""


def is_saved(path: Path) -> bool:
    """Whether a path is to be read as such a zip."""
    return path.suffix.lower() == ".zip" and not path.is_dir()


def import_saved(folder: Path, path: Path, contributor: str) -> Imported:
    """Keep what the app saved, each observation with its own id. Interrupted, the same call goes on.

    Args:
        folder: where to keep it; made if there is none.
        path: the zip.
        contributor: who sent it. No invitation is needed, and what is imported counts towards none.

    Raises:
        InputError: no such file, something else than the app saves, over the bounds, or a name that cannot be kept.
    """
    who, left = sender(contributor), []
    with _archive(path) as archive:
        rows = _rows(archive, path)
        with opened(folder, create=True) as store, Cleaner(1) as cleaner, tempfile.TemporaryDirectory() as aside:
            counts = dict.fromkeys(Kept, 0)
            for row in track(rows, "Importing observations", len(rows)):
                observation = row.observation.model_copy(update={"contributor": who})
                try:
                    counts[_kept(store, observation, cleaner, archive, row.file_name, Path(aside) / "photo")] += 1
                except (_Unusable, UnreadableImage, Refused) as error:
                    left.append(Skipped(path / row.file_name, str(error)))
    return Imported(counts[Kept.NEW], counts[Kept.KNOWN], tuple(left))


def _kept(
    store: Store, observation: Observation, cleaner: Cleaner, archive: zipfile.ZipFile, name: str, aside: Path
) -> Kept:
    """Keep an observation, if it is not known, with its photo, which is unpacked to `aside`."""
    known = store.one(str(observation.id))
    if known is not None and known.observation == observation:
        return Kept.KNOWN
    photo = _unpacked(archive, name, LARGEST)
    aside.write_bytes(photo)
    return store.add(observation, cleaner.clean(aside), hashlib.sha256(photo).hexdigest(), invited=False)


# --- the zip -------------------------------------------------------------------------------------


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose directory is within the bounds.

    Raises:
        InputError: it is none, is damaged, or is too large.
    """
    _refuse_large(path)
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise InputError(f"{path}: {_NOT_WHOLE} ({error})") from None
    with archive:
        files = archive.infolist()
        if len(files) > MOST or sum(each.file_size for each in files) > LARGEST_ZIP:
            raise InputError(f"{path}: {_TOO_LARGE}")
        yield archive


def _refuse_large(path: Path) -> None:
    """Refuse by its last bytes what `zipfile` would read whole. The app writes no comment, so the end is at the end."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give --import the zip that the app saved.")
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _END.size - _LOCATOR))
            tail = stream.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    end = tail[-_END.size :]
    if len(end) < _END.size or not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):
        raise InputError(f"{path}: {_NOT_WHOLE}")
    length = _END.unpack(end)[5]
    if tail.startswith(b"PK\6\7") or length > _DIRECTORY:
        raise InputError(f"{path}: {_TOO_LARGE}")


def _rows(archive: zipfile.ZipFile, path: Path) -> Sequence[Row]:
    """What `metadata.csv` says, all of it before anything is kept."""
    where = f"{path}: {METADATA}"
    try:
        text = _unpacked(archive, METADATA, LARGEST_TABLE).decode("utf-8")
    except (_Unusable, UnicodeDecodeError) as error:
        raise InputError(f"{where} {error}. Give --import the zip as the app saved it.") from None
    rows = []
    for row in read_metadata(io.StringIO(text, newline=""), where):
        id = row.observation.id
        if row.file_name != f"photos/{id}.jpg" or row.review or row.observation.contributor:
            raise InputError(
                f"{where}: observation {id} is not as the app saves it: it has a reviewer, a contributor or another "
                "file name. Give --import the zip as the app saved it."
            )
        rows.append(row)
        if len(rows) > MOST:
            raise InputError(f"{where}: has more than {MOST:,} lines, which the app never saves.")
    if not rows:
        raise InputError(f"{where}: has no observation.")
    return rows


def _unpacked(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of the zip.

    Raises:
        _Unusable: it is not there, damaged, encrypted, packed in another way than the app does, or too large.
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise _Unusable("is not in the zip") from None
    if info.file_size > most:
        raise _Unusable(f"has more than {most >> 20} MiB")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Unusable("is packed in another way than the app does")
    try:
        with archive.open(info) as stream:
            # With a number, no more than that is unpacked, whatever the file has; without one, all of it at once.
            return stream.read(info.file_size)
    except _DAMAGE as error:
        raise _Unusable(f"is damaged ({error})") from None
