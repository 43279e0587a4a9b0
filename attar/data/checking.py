"""Photos are decoded once to check them; what was found is remembered in the user's cache folder.

A photo that cannot be read is set aside by name, and the work goes on.
"""

from __future__ import annotations

import hashlib
import os
import stat
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import PIL

from attar import __version__
from attar.children import FORKS
from attar.console import track
from attar.data.foldertree import Skipped
from attar.data.images import DAMAGED_PROFILE, UnreadableImage, open_photo, use_rgb
from attar.data.leaks import look
from attar.data.sample import Sample
from attar.data.stamps import stamp
from attar.errors import AttarError, InputError
from attar.files import digest_of, read_json, user_cache, write_json
from attar.lookahead import in_order
from attar.sampling import spread

_ENTRY = 5
SAVE_SECONDS = 60.0
"""After which what was found so far is written."""
MANY = 5000
"""From so many photos on, it is worth starting processes."""
SMALL_BYTES = 50_000
"""Of a photo of some 300 pixels. Larger ones are decoded as fast by threads."""
_AT_ONCE = 64


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
    pause = _Pause()
    for item, entry in zip(others, _in_parallel(examine, others, "Checking photos")):
        results[item.name] = entry
        if pause.is_over():  # a check that is stopped goes on from here
            with pause:
                _remember(memory, {**remembered, **results})
    results = {item.name: results[item.name] for item in samples}
    if results != remembered:
        _remember(memory, results)
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


def _remember(memory: Path, results: dict[str, Any]) -> None:
    try:
        write_json(memory, results)
    except AttarError:
        pass  # only a memory: without it the next command checks the photos again


class _Pause:
    """Between two times that what was found is written: a minute, or more where writing takes seconds."""

    def __init__(self) -> None:
        self._until = time.monotonic() + SAVE_SECONDS
        self._began = 0.0

    def is_over(self) -> bool:
        return time.monotonic() > self._until

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._until = now + max(SAVE_SECONDS, 20 * (now - self._began))


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != _ENTRY or not isinstance(entry[3], str):
        return False
    return isinstance(entry[1] or entry[2], str) and isinstance(entry[4], str)


def _in_parallel(examine: Callable[[Sample], list[Any]], items: Sequence[Sample], title: str) -> Iterable[list[Any]]:
    """Examine photos by threads; by processes if they are many and small: what those take is mostly Python, of which
    a process runs one thread at a time."""
    workers = os.cpu_count() or 1
    if not FORKS or workers == 1 or len(items) < MANY or _typical_bytes(items) > SMALL_BYTES:
        yield from in_threads(examine, items, title)
        return
    from attar.data.processes import Processes  # it needs torch, which reading photos does not

    parts = [(start, start + _AT_ONCE) for start in range(0, len(items), _AT_ONCE)]
    processes: Any = Processes(lambda part: [examine(item) for item in items[slice(*part)]], workers)
    yield from track(chain.from_iterable(processes.drawn(parts)), title, len(items))


def _typical_bytes(items: Sequence[Sample]) -> float:
    """Median size of some of the photos, as they lie on disk."""

    def size(item: Sample) -> int:
        try:
            return item.path.stat().st_size if item.part is None else item.part.size
        except (OSError, ValueError):  # what is no file is told when it is examined
            return 0

    return statistics.median(map(size, spread(items, 100)))


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
