"""The machine a figure was measured on, in words and numbers."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe() -> dict[str, Any]:
    """CPU model, system, cores this process may use, frequency governor and load; None where unknown."""
    return {
        "cpu": _cpu(),
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.is_file() else None,
        "python": platform.python_version(),
    }


def load_average() -> float | None:
    """Processes that wanted a core over the last minute: a busy machine gives unsteady figures."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpu() -> str | None:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        names = {key.strip(): value.strip() for key, _, value in lines}
        return names.get("model name") or names.get("Hardware") or platform.processor() or None
    if platform.system() == "Darwin":
        done = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return done.stdout.strip() or None
    return platform.processor() or None
