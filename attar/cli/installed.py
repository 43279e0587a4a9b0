"""What is installed: every optional part, its version, and what it enables."""

from __future__ import annotations

import importlib.util
import os
import platform
from typing import Any

from rich.table import Table

from attar import __version__
from attar.extras import OPTIONAL, version

_BASE = ("torch", "torchvision", "timm", "numpy", "pillow")


def examine() -> dict[str, Any]:
    """Versions and capabilities as plain data."""
    import torch

    from attar.inference import torch_device

    base = {name: version(name) for name in _BASE}
    optional = [
        {
            "package": item.distribution,
            "version": version(item.distribution),
            "extra": item.extra,
            "enables": item.enables,
            "installed": importlib.util.find_spec(item.module) is not None,
        }
        for item in OPTIONAL
    ]
    return {
        "attar": __version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "device": str(torch_device()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "adb": _adb(),
        "core_ml_runtime": platform.system() == "Darwin",
        "packages": base,
        "optional": optional,
    }


def _adb() -> str | None:
    from attar.benchmarks.android.adb import find_adb
    from attar.errors import InputError

    try:
        return find_adb()
    except InputError:
        return None


def table(parts: dict[str, Any]) -> Table:
    """For a person."""
    view = Table(title=f"attar {parts['attar']} · Python {parts['python']} · {parts['machine']}", title_justify="left")
    for heading in ("part", "version", "what it enables"):
        view.add_column(heading)
    trains = f"training, on {parts['gpu'] or parts['device']} ({parts['cores']} cores)"
    for name, number in parts["packages"].items():
        view.add_row(name, number or "[red]missing[/]", trains if name == "torch" else "")
    for item in parts["optional"]:
        missing = f'not installed: pip install "attar\\[{item["extra"]}]"'
        view.add_row(
            item["package"], item["version"] or "[yellow]-[/]", item["enables"] if item["installed"] else missing
        )
    where = (
        "Core ML itself (this is a Mac)"
        if parts["core_ml_runtime"]
        else "the reference evaluator (Core ML runs on a Mac only)"
    )
    view.add_row("Core ML verification", "", where)
    phones = "measure on Android phones (docs/android.md)"
    view.add_row("adb", "", phones if parts["adb"] else f"not found; it is needed to {phones}")
    return view
