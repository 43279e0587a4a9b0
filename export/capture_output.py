"""Keeping converters' chatter away from the user, and showing it when it matters."""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO

TAIL = 2000
"""Characters of captured output that a failure shows."""

_sink: IO[bytes] | None = None
"""Where the outermost `captured` block diverts to."""


class Captured:
    """What was printed inside `captured`; filled when the block ends."""

    text = ""

    @property
    def tail(self) -> str:
        """The end of it, where errors stand."""
        return self.text[-TAIL:].strip()


@contextmanager
def captured(path: Path | None = None) -> Iterator[Captured]:
    """Divert standard output and error, C code's included, Python's warnings and logging.

    A block inside another writes where the outer one does, and has its own part of it as its text.

    Args:
        path: keep everything in this file, which outlives a process that crashes inside the block.
    """
    global _sink
    noise = Captured()
    if _sink is not None:
        start = _size(_sink)
        try:
            yield noise
        finally:
            noise.text = _read(_sink, start)
        return
    with path.open("w+b") if path else tempfile.TemporaryFile() as sink:
        _sink = sink
        try:
            with _diverted(sink):
                yield noise
        finally:
            _sink = None
            noise.text = _read(sink, 0)


@contextmanager
def _diverted(sink: IO[bytes]) -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        kept = [os.dup(descriptor) for descriptor in (1, 2)]
        raw = os.fdopen(os.dup(sink.fileno()), "wb", buffering=0)  # a crash loses what is in a buffer
        writer = io.TextIOWrapper(raw, errors="replace", write_through=True)
        try:
            for descriptor in (1, 2):
                os.dup2(sink.fileno(), descriptor)
            # In a notebook sys.stdout is no file descriptor's, so both are diverted.
            with redirect_stdout(writer), redirect_stderr(writer):
                yield
        finally:
            writer.close()
            for descriptor, saved in zip((1, 2), kept):
                os.dup2(saved, descriptor)
                os.close(saved)
            logging.disable(level)


def _size(sink: IO[bytes]) -> int:
    return os.fstat(sink.fileno()).st_size


def _read(sink: IO[bytes], start: int) -> str:
    """What was written from `start` on; leaves the place where writing goes on."""
    return os.pread(sink.fileno(), _size(sink) - start, start).decode(errors="replace")
