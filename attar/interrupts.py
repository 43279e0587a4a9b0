"""Ctrl-C and SIGTERM in the middle of work that first has to be put in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from attar.console import say

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM ended, as shells count."""


class Interrupt:
    """The first Ctrl-C or SIGTERM, noted and not yet in effect."""

    number: int | None = None

    @property
    def came(self) -> bool:
        """Whether there was one."""
        return self.number is not None

    def take_effect(self) -> NoReturn:
        """`SystemExit` with `TERMINATED` for SIGTERM, else `KeyboardInterrupt`."""
        if self.number == signal.SIGTERM:
            raise SystemExit(TERMINATED)
        raise KeyboardInterrupt


@contextmanager
def noted() -> Iterator[Interrupt]:
    """A block in which the first Ctrl-C or SIGTERM is only noted; the second takes effect at once.

    The block is expected to look at it often. If it does not, the signal takes effect at the block's end. Outside the
    main thread, where Python handles no signals, nothing is noted.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, frame: FrameType | None) -> None:
        if interrupt.came:
            interrupt.take_effect()
        interrupt.number = number
        say("Stopping after this step, with a checkpoint. Once more to stop at once.")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupt.came:
        interrupt.take_effect()
