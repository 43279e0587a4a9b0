"""TensorFlow's own TFLite interpreter, with XNNPACK: what apps run that still use TensorFlow Lite.

Its protocol is LiteRT's. It comes with the `reference` extra, and is as large as all else together.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from attar.export.runners.litert import LiteRTRunner
from attar.extras import require
from attar.extras import version as installed

NAME = "TensorFlow Lite (XNNPACK)"


def version() -> str:
    """The installed version."""
    return installed("tensorflow") or "unknown"


def preload() -> None:
    """Import the runtime's package."""
    require("tensorflow")


def load(path: str, threads: int) -> LiteRTRunner:
    """Read the file, apply the delegate, and allocate the tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it moved to LiteRT
        return LiteRTRunner(Path(path), threads, require("tensorflow").lite.Interpreter)
