"""A browser's device in a record's words. It is what the browser says of itself, and is kept as such."""

from __future__ import annotations

import re
from typing import Any

from attar.benchmarks.lab.inbox import VisitorDevice

KIND = "browser"

_SYSTEMS = (
    (r"Android ([\d.]+)", "Android {}"),
    (r"iPhone OS ([\d_]+)", "iOS {}"),
    (r"iPad; CPU OS ([\d_]+)", "iPadOS {}"),
    (r"Windows NT ([\d.]+)", "Windows NT {}"),
    (r"Mac OS X ([\d_.]+)", "macOS {}"),
    (r"CrOS \S+ ([\d.]+)", "ChromeOS {}"),
    (r"Linux", "Linux"),
)
_BROWSERS = (
    (r"SamsungBrowser/([\d.]+)", "Samsung Internet {}"),
    (r"EdgA?/([\d.]+)", "Edge {}"),
    (r"EdgiOS/([\d.]+)", "Edge {}"),
    (r"OPR/([\d.]+)", "Opera {}"),
    (r"(?:Firefox|FxiOS)/([\d.]+)", "Firefox {}"),
    (r"HeadlessChrome/([\d.]+)", "Headless Chrome {}"),
    (r"(?:Chrome|CriOS)/([\d.]+)", "Chrome {}"),
    (r"Version/([\d.]+).*Safari/", "Safari {}"),
)
"""Most browsers name others too: the first that matches is the one."""


def describe(device: VisitorDevice) -> dict[str, Any]:
    """As a record's `device`. Browsers do not tell the CPU's model: `cpu` is its architecture, or None."""
    platform = f"{device.platform or ''} {device.platform_version or ''}".strip()
    return {
        "kind": KIND,
        "model": device.model or None,
        "cpu": device.architecture or None,
        "os": platform or _found(_SYSTEMS, device.user_agent),
        "cores": device.cores,
        "memory_gb": device.memory,
        "browser": _found(_BROWSERS, device.user_agent),
        "user_agent": device.user_agent,
        "gpu": device.gpu,
        "isolated": device.isolated,
        "secure": device.secure,
        "relaxed_simd": device.relaxed_simd,
    }


def name(device: dict[str, Any]) -> str:
    """For a person: model, system and browser, as far as they are known."""
    parts = [device[key] for key in ("model", "os", "browser") if device[key]]
    return ", ".join(parts) or "a browser that tells nothing"


def _found(patterns: tuple[tuple[str, str], ...], text: str) -> str | None:
    for pattern, form in patterns:
        if match := re.search(pattern, text):
            return form.format(*(group.replace("_", ".") for group in match.groups()))
    return None
