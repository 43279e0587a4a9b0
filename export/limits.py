"""How much time and memory the making of one file may take, and how many are made at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass

_ROOM = 3 * 2**30
"""Bytes that a conversion may need."""


@dataclass(frozen=True)
class Resolved:
    """Limits in figures: seconds and bytes for each target's process, and how many work at a time."""

    seconds: float
    memory: int
    workers: int


@dataclass(frozen=True)
class Limits:
    """How far one target's process may go before it is ended, and how many work at a time.

    Attributes:
        seconds: time.
        memory: resident memory in bytes; None for a fair share of nine tenths of the machine's.
        workers: processes at a time; None for one per core, while each has `_ROOM` of memory.
    """

    seconds: float = 1800
    memory: int | None = None
    workers: int | None = None

    def resolved(self, targets: int) -> Resolved:
        """For that many targets."""
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        workers = self.workers or max(1, min(os.cpu_count() or 1, machine // (self.memory or _ROOM), targets))
        return Resolved(self.seconds, self.memory or int(0.9 * machine / workers), workers)
