"""The errors a user can meet, and the exit code each one ends the command with.

Everything a user can cause is an `AttarError` whose text names the thing and the remedy; the command
line prints it as one message without a traceback. Any other exception is a bug in attar.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AttarError(Exception):
    """A problem the user can understand and mend."""

    exit_code = 2


class InputError(AttarError):
    """Wrong usage or bad input (exit code 2)."""


class GateError(AttarError):
    """The work ran, and its result failed a gate, such as a diverging export (exit code 1)."""

    exit_code = 1


class MissingExtra(InputError):
    """An optional package is not installed; the message names the extra that brings it."""


def did_you_mean(word: str, known: Iterable[str], n: int = 3) -> str:
    """` Did you mean 'x'?` for the nearest of `known`, or an empty string when none is near."""
    near = difflib.get_close_matches(word, list(known), n=n, cutoff=0.5)
    if not near:
        return ""
    return " Did you mean " + " or ".join(repr(name) for name in near) + "?"
