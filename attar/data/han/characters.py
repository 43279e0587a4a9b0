"""Which Han characters are classes, and how often each is written."""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from attar.errors import MissingExtra

FIRST, LAST = "\u4e00", "\u9fff"
"""The block "CJK Unified Ideographs" of Unicode."""

_CODES = ("gb2312", "big5")
"""A character of neither of these is in few typefaces."""


@cache
def by_frequency() -> tuple[tuple[str, int], ...]:
    """(character, occurrences) of some ten thousand characters, most frequent first; of equally frequent ones the
    first in Unicode.

    Occurrences are those of the words in jieba's dictionary.

    Raises:
        MissingExtra: jieba is not installed.
    """
    package = find_spec("jieba")  # its code is not needed, and importing it takes a second
    if package is None or not package.submodule_search_locations:
        raise MissingExtra(
            "jieba is not installed; its dictionary says how often characters are written. Install it with: "
            'pip install "attar[recipes]"'
        )
    text = (Path(package.submodule_search_locations[0]) / "dict.txt").read_text(encoding="utf-8")
    count: Counter[str] = Counter()
    for line in text.splitlines():
        word, times = line.split(" ")[:2]
        for character in word:
            count[character] += int(times)
    ours = [(character, times) for character, times in count.items() if _is_common(character)]
    return tuple(sorted(ours, key=lambda each: (-each[1], each[0])))


def _is_common(character: str) -> bool:
    return FIRST <= character <= LAST and any(_has(code, character) for code in _CODES)


def _has(code: str, character: str) -> bool:
    try:
        character.encode(code)
    except UnicodeEncodeError:
        return False
    return True
