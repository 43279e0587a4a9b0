"""What was found in a file, remembered in the user's cache folder until the file changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attar import __version__
from attar.data.stamps import stamp
from attar.errors import AttarError, InputError
from attar.files import digest_of, read_json, user_cache, write_json


def remembered(path: Path, what: str, find: Callable[[], list[Any]], is_one: Callable[[Any], bool]) -> list[Any]:
    """What `find` gives, plain data: from memory, if it was found in the same file before.

    Args:
        path: the file that `find` reads.
        what: the kind of finding, and all else that it depends on.
        find: reads the file.
        is_one: whether a value is such a finding: a memory may be damaged.

    Raises:
        OSError: the file cannot be read.
    """
    memory = user_cache() / "files" / f"{digest_of([str(path.resolve()), what, __version__])[:24]}.json"
    mark = stamp(path)  # before the file is read: if it changes meanwhile, the next command reads it again
    try:
        before = read_json(memory)
    except InputError:
        before = None
    if isinstance(before, dict) and before.get("stamp") == mark and isinstance(before.get("found"), list):
        found: list[Any] = before["found"]
        if all(map(is_one, found)):
            return found
    found = find()
    try:
        write_json(memory, {"stamp": mark, "found": found})
    except AttarError:
        pass  # only a memory: without it the next command reads the file again
    return found
