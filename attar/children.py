"""Starting a process of our own that finds the same modules as this one, whatever folder it stands in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FORKS = sys.platform == "linux"
"""Whether processes that share this one's memory can be forked of it."""


def module_command(module: str, *words: object) -> list[str]:
    """The command line of `python -m module words...`; the current folder is not searched for modules (`-P`)."""
    return [sys.executable, "-P", "-m", module, *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    """This process's environment with its search path for modules, and `more`."""
    path = os.pathsep.join(str(Path(place).absolute()) for place in sys.path)
    return {**os.environ, "PYTHONPATH": path, **more}
