"""LiteRT's interpreter with its default delegate, XNNPACK."""

from __future__ import annotations

from pathlib import Path

from attar.export.runners.litert import LiteRTRunner
from attar.extras import require
from attar.extras import version as installed

NAME = "LiteRT (XNNPACK)"


def version() -> str:
    """The installed version."""
    return installed("ai-edge-litert") or "unknown"


def preload() -> None:
    """Import the runtime's package."""
    require("ai_edge_litert.interpreter")


def load(path: str, threads: int) -> LiteRTRunner:
    """Read the file, apply the delegate, and allocate the tensors."""
    return LiteRTRunner(Path(path), threads)
