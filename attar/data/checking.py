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
from attar.data.findings import Findings, Found
from attar.data.foldertree import Skipped
from attar.data.images import DAMAGED_PROFILE, UnreadableImage, open_photo, use_rgb
from attar.data.leaks import look
from attar.data.sample import Sample
from attar.data.stamps import stamp
from attar.files import digest_of, user_cache
from attar.lookahead import in_order
from attar.sampling import spread

SAVE_SECONDS = 1.0
"""After which what was found so far is written."""
MANY = 5000
"""From so many photos on, it is worth starting processes."""
SMALL_BYTES = 50_000
"""Of a photo of some 300 pixels. Larger ones are decoded as fast by threads."""
_AT_ONCE = 64

_Asked = tuple[Sample, Found | None]
"""A photo, and what was found of it before."""


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
    findings = Findings(memory_of(root))
    try:
        results = _looked_at(samples, findings, thorough)
    finally:
        findings.close()
    good = [item.name for item in samples if results[item.name].digest]
    return Checked(
        {name: results[name].digest for name in good},
        {name: results[name].look for name in good},
        [Skipped(item.shown, results[item.name].problem) for item in samples if not results[item.name].digest],
        [Skipped(item.shown, results[item.name].damaged) for item in samples if results[item.name].damaged],
    )


def unchecked(samples: Sequence[Sample]) -> Checked:
    """Photos as if they were good: nothing of them is read, and a name and a size stand for the content."""
    digests, bad = {}, []
    for item in samples:
        try:
            size = item.path.stat().st_size if item.part is None else item.part.size
        except (OSError, ValueError) as error:  # ValueError: a NUL in a path from a list
            bad.append(Skipped(item.shown, f"cannot be opened ({getattr(error, 'strerror', None) or error})"))
            continue
        digests[item.name] = digest_of(["unchecked", item.name, size])
    return Checked(digests, dict.fromkeys(digests, ""), bad, [])


def _looked_at(samples: Sequence[Sample], findings: Findings, thorough: bool) -> dict[str, Found]:
    """What is found of each photo, by name. It is remembered soon, so that a check that was stopped goes on."""
    stamps: dict[Path, str] = {}

    def examine(asked: _Asked) -> Found:
        item, before = asked
        try:
            mark = _mark(item, stamps)
        except UnreadableImage as error:
            return Found("", "", str(error))
        if before and before.mark == mark and (not thorough or not before.digest or before.digest == _digest(item)):
            return before
        try:
            seen, damaged = use_rgb(
                lambda image: (look(image), image.info.get(DAMAGED_PROFILE, "")), item.path, item.part
            )
            return Found(mark, _digest(item), "", seen, damaged)
        except UnreadableImage as error:
            return Found(mark, "", str(error))

    results: dict[str, Found] = {}
    others = []
    for item in samples:
        before = findings.of(item.name)
        if before and not thorough and _is_known(item, before, stamps):
            results[item.name] = before
        else:
            others.append((item, before))
    new, saved = [], time.monotonic()
    for (item, before), found in zip(others, _in_parallel(examine, others, "Checking photos")):
        results[item.name] = found
        if found != before:
            new.append((item.name, found))
        if new and time.monotonic() - saved > SAVE_SECONDS:
            findings.add(new)
            new, saved = [], time.monotonic()
    findings.add(new)
    return results


def _is_known(item: Sample, before: Found, stamps: dict[Path, str]) -> bool:
    """Whether a photo in a file of many is as it was: they share one stamp, so there is nothing to wait for."""
    try:
        return item.part is not None and before.mark == _mark(item, stamps)
    except UnreadableImage:
        return False


def _mark(item: Sample, stamps: dict[Path, str]) -> str:
    """The stamp of a photo's file, and its place in it; what is no file is never opened."""
    if item.part is not None and item.path in stamps:
        return f"{stamps[item.path]} {item.part.offset} {item.part.size}"
    try:
        if not stat.S_ISREG(item.path.stat().st_mode):
            raise UnreadableImage("not a regular file, so it is not opened")
        mark = digest_of(stamp(item.path))[:24]
    except FileNotFoundError:
        raise UnreadableImage("a link to nothing" if item.path.is_symlink() else "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in a path from a list
        raise UnreadableImage(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if item.part is None:
        return mark
    stamps[item.path] = mark
    return f"{mark} {item.part.offset} {item.part.size}"


def _digest(item: Sample) -> str:
    try:
        with open_photo(item.path, item.part) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror})") from error


def memory_of(root: Path) -> Path:
    """The file that remembers what was found at `root`."""
    # Another attar or Pillow may judge a photo differently. The number is that of the entries' form.
    key = digest_of([str(root.resolve()), __version__, PIL.__version__, 4])
    return user_cache() / "photos" / f"{key[:24]}.sqlite"


def _in_parallel(examine: Callable[[_Asked], Found], items: Sequence[_Asked], title: str) -> Iterable[Found]:
    """Examine photos by threads; by processes if they are many and small: what those take is mostly Python, of which
    a process runs one thread at a time."""
    workers = os.cpu_count() or 1
    if not FORKS or workers == 1 or len(items) < MANY or _typical_bytes([item for item, _ in items]) > SMALL_BYTES:
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
