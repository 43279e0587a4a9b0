"""The errors a user can meet, and the exit code each one ends the command with.

Everything a user can cause is an `AttarError` whose text names the thing and the remedy; the command
line prints it as one message without a traceback. Any other exception is a bug in attar.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class AttarError(Exception):
    """A problem the user can understand and mend."""

    exit_code = 2


class InputError(AttarError):
    """Wrong usage or bad input (exit code 2)."""


class GateError(AttarError):
    """The work ran, and its result failed a gate, such as a diverging export (exit code 1)."""

    exit_code = 1


class Unsupported(GateError):
    """A device does not take every operator of a file, which may be right elsewhere; the message names them."""


class MissingExtra(InputError):
    """An optional package is not installed; the message names the extra that brings it."""


def did_you_mean(word: str, choices: Iterable[str], n: int = 3) -> str:
    """` Did you mean 'x'?` for the nearest of `choices`, or an empty string when none is near."""
    near = difflib.get_close_matches(word, list(choices), n=n, cutoff=0.5)
    if not near:
        return ""
    return " Did you mean " + " or ".join(repr(name) for name in near) + "?"


def printable(text: object) -> str:
    """Text that is safe on a terminal and in a log: control characters and undecodable bytes as `\\x1b`, `\\udce9`.

    Line breaks and tabs stay: they are ours. A file's name with one in it is to be escaped on its own: `in_line`.
    """
    return "".join(each if each in "\n\t" else _escaped(each) for each in str(text))


def in_line(text: object) -> str:
    """`printable` text on one line, such as a file's name."""
    return "".join(map(_escaped, str(text)))


_REVERSING = "\u202a\u202b\u202d\u202e\u2066\u2067"
"""Marks that reverse the order of the letters after them, so that a name looks like another."""


def _escaped(character: str) -> str:
    odd = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _REVERSING
    return character.encode("unicode_escape").decode() if odd else character
