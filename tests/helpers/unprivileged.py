"""Doing something without root's rights, to whom no folder is read-only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


def bound_by_permissions(command: Sequence[str]) -> list[str]:
    """The same command; of root, as a root who writes only where permissions let it, and reads everything."""
    return ["setpriv", "--bounding-set=-dac_override", *command] if os.geteuid() == 0 else list(command)


@contextmanager
def without_root() -> Iterator[Path]:
    """Give up root's rights inside; yields a folder that belongs to whoever is left."""
    with tempfile.TemporaryDirectory() as name:
        root = os.geteuid() == 0
        if root:
            os.chown(name, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
