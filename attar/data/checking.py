"""Photos are decoded once to check them; what was found is remembered in the user's cache folder.

A photo that cannot be read is set aside by name, and the work goes on.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL

from attar import __version__
from attar.console import track
from attar.data.foldertree import Skipped
from attar.data.images import DAMAGED_PROFILE, UnreadableImage, open_photo, use_rgb
from attar.data.leaks import look
from attar.data.sample import Sample
from attar.data.stamps import stamp
from attar.errors import AttarError, InputError
from attar.files import digest_of, read_json, user_cache, write_json
from attar.lookahead import in_order

_ENTRY = 5


@dataclass(frozen=True)
class Checked:
    """What decoding found.

    Attributes:
        digests: SHA-256 of each good photo's bytes, by name.
        looks: what each good photo looks like, by name; see `attar.data.leaks.look`.
        bad: the photos that cannot be used.
        damaged_profiles: the photos that are taken for sRGB, because their colour profile cannot be used.
    """

    digests: dict[str, str]
    looks: dict[str, str]
    bad: list[Skipped]
    damaged_profiles: list[Skipped]


def check(root: Path, samples: Sequence[Sample], thorough: bool = False) -> Checked:
    """Decode every photo that was not decoded before.

    Args:
        root: the data set: what was found is remembered under its path.
        samples: its photos.
        thorough: also hash all photos that are known, as before a result made from them is trusted.
    """
    memory = memory_of(root)
    remembered = _recall(memory)
    stamps: dict[Path, list[int | str]] = {}

    def known(item: Sample) -> list[Any] | None:
        """What is remembered of a photo in a file of many: they share one stamp, so there is nothing to wait for."""
        before = remembered.get(item.name) if item.part is not None and not thorough else None
        try:
            return before if before and before[0] == _mark(item, stamps) else None
        except UnreadableImage:
            return None

    def examine(item: Sample) -> list[Any]:
        try:
            mark = _mark(item, stamps)
        except UnreadableImage as error:
            return [None, None, str(error), "", ""]
        before = remembered.get(item.name)
        if before and before[0] == mark and (not thorough or not before[1] or before[1] == _digest(item)):
            return before
        try:
            seen, damaged = use_rgb(
                lambda image: (look(image), image.info.get(DAMAGED_PROFILE, "")), item.path, item.part
            )
            return [mark, _digest(item), None, seen, damaged]
        except UnreadableImage as error:
            return [mark, None, str(error), "", ""]

    results = {item.name: before for item in samples if (before := known(item))}
    others = [item for item in samples if item.name not in results]
    found = dict(zip((item.name for item in others), in_threads(examine, others, "Checking photos")))
    results = {item.name: results.get(item.name) or found[item.name] for item in samples}
    if results != remembered:
        try:
            write_json(memory, results)
        except AttarError:
            pass  # only a memory: without it the next command checks the photos again
    good = [item.name for item in samples if results[item.name][1]]
    return Checked(
        {name: results[name][1] for name in good},
        {name: results[name][3] for name in good},
        [Skipped(item.shown, results[item.name][2]) for item in samples if not results[item.name][1]],
        [Skipped(item.shown, results[item.name][4]) for item in samples if results[item.name][4]],
    )


def _mark(item: Sample, stamps: dict[Path, list[int | str]]) -> list[Any]:
    """The stamp of a photo's file, and its place in it; what is no file is never opened."""
    try:
        if item.part is not None and item.path in stamps:
            return [stamps[item.path], item.part.offset, item.part.size]
        if not stat.S_ISREG(item.path.stat().st_mode):
            raise UnreadableImage("not a regular file, so it is not opened")
        mark = stamp(item.path)
    except FileNotFoundError:
        raise UnreadableImage("a link to nothing" if item.path.is_symlink() else "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in a path from a list
        raise UnreadableImage(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if item.part is None:
        return [mark]
    stamps[item.path] = mark
    return [mark, item.part.offset, item.part.size]


def _digest(item: Sample) -> str:
    try:
        with open_photo(item.path, item.part) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror})") from error


def memory_of(root: Path) -> Path:
    """The file that remembers what was found at `root`."""
    # Another attar or Pillow may judge a photo differently. The number is that of the entries' form.
    key = digest_of([str(root.resolve()), __version__, PIL.__version__, 3])
    return user_cache() / "photos" / f"{key[:24]}.json"


def _recall(memory: Path) -> dict[str, Any]:
    try:
        value = read_json(memory)
    except InputError:
        return {}
    return {name: entry for name, entry in value.items() if _is_entry(entry)} if isinstance(value, dict) else {}


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != _ENTRY or not isinstance(entry[3], str):
        return False
    return isinstance(entry[1] or entry[2], str) and isinstance(entry[4], str)


def in_threads(function: Callable[[Any], Any], items: Iterable[Any], title: str | None = None) -> Iterable[Any]:
    """Map in order over a few threads (Pillow and NumPy release the interpreter lock), with progress."""
    items = list(items)
    pool = ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1))
    try:
        results = in_order(pool, function, items, 1000)
        yield from track(results, title, len(items)) if title else results
    finally:
        # After an error or Ctrl-C the items that wait are dropped, not worked through first.
        pool.shutdown(cancel_futures=True)
