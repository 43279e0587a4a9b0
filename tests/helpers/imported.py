"""A Python file that no package holds, imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from attar.export.capture_output import captured


def module_of(path: Path) -> Any:
    """A snippet, imported."""
    spec = importlib.util.spec_from_file_location("snippet", path)
    assert spec is not None and spec.loader is not None
    snippet = importlib.util.module_from_spec(spec)
    with captured():
        spec.loader.exec_module(snippet)
    return snippet
