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

TAIL = 2000
"""Characters of captured output that a failure shows."""


class Captured:
    """What was printed inside `captured`; filled when the block ends."""

    text = ""

    @property
    def tail(self) -> str:
        """The end of it, where errors stand."""
        return self.text[-TAIL:].strip()


@contextmanager
def captured() -> Iterator[Captured]:
    """Divert standard output and error, C code's included, Python's warnings and logging, to a buffer."""
    noise = Captured()
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        kept = [os.dup(descriptor) for descriptor in (1, 2)]
        writer = io.TextIOWrapper(os.fdopen(os.dup(sink.fileno()), "wb"), errors="replace", write_through=True)
        try:
            for descriptor in (1, 2):
                os.dup2(sink.fileno(), descriptor)
            # In a notebook sys.stdout is no file descriptor's, so both are diverted.
            with redirect_stdout(writer), redirect_stderr(writer):
                yield noise
        finally:
            writer.close()
            for descriptor, saved in zip((1, 2), kept):
                os.dup2(saved, descriptor)
                os.close(saved)
            logging.disable(level)
            sink.seek(0)
            noise.text = sink.read().decode(errors="replace")
