"""A private folder on a phone, gone when the work is over, however it ends."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from attar.benchmarks.android.adb import DeviceError, Phone
from attar.console import say

ROOT = "/data/local/tmp"
"""The one place where adb may write and run programs on any phone."""
STALE = 180
"""Minutes after which a folder that nobody touched is the leftover of a run that was killed."""

_NAME = re.compile(rf"{ROOT}/attar-[0-9a-f]{{16}}")
_MARK, _PROCESS = ".attar", "pid"


@contextmanager
def private_folder(phone: Phone) -> Iterator[str]:
    """Make a folder that only adb's user can enter, and remove it at the end, with what still runs in it."""
    sweep(phone)
    path = f"{ROOT}/attar-{secrets.token_hex(8)}"
    try:
        phone.check(f"mkdir -m 700 {path} && touch {path}/{_MARK}")
        yield path
    finally:
        try:
            phone.run(f"test -f {path}/{_PROCESS} && kill -9 $(cat {path}/{_PROCESS}); rm -rf {path}")
        except DeviceError:
            say(f"Phone {phone.serial}: {path} is still on it. A later run removes it, or: adb shell rm -rf {path}")


def tracked(path: str, command: str) -> str:
    """A shell command that runs a program in the folder and can be killed by leaving it; its exit status is kept.

    The note of the process also renews the folder's time, so that a long measurement is never a leftover.
    """
    inner = f"echo $$ > {_PROCESS}; exec {command}".replace("'", r"'\''")
    return f"cd {path} && sh -c '{inner}'; status=$?; rm -f {path}/{_PROCESS}; exit $status"


def sweep(phone: Phone) -> list[str]:
    """Remove folders of ours that a killed run left behind; returns their paths."""
    # -mmin is missing on some old phones: they keep their leftovers.
    listing = phone.run(f"find {ROOT} -maxdepth 1 -type d -name 'attar-*' -mmin +{STALE}")
    stale = [line for line in listing.output.splitlines() if listing.code == 0 and _NAME.fullmatch(line)]
    for path in stale:
        phone.run(f"test -f {path}/{_MARK} && rm -rf {path}")
    return stale
