"""Stand-in phones on the cable of a private adb server, furnished like a phone: properties, battery, cores, program."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from helpers.ports import free_port
from helpers.standin.elf import launcher
from helpers.standin.phone import Phone

PROPERTIES = """\
[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[ro.product.cpu.abilist]: [x86_64,x86]
[ro.product.manufacturer]: [attar]
[ro.product.model]: [Stand-in]
[ro.soc.model]: [no SoC]
"""
BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  present: true
  level: 85
  scale: 100
  voltage: 4123
  temperature: 285
  technology: Li-ion
"""
THERMAL = """\
IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=99.0, mType=0, mName=OLD, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=36.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=41.25, mType=0, mName=CPU1, mStatus=0}
\tTemperature{mValue=28.5, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=31.0, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=cpufreq}
"""
TOYBOX = shutil.which("toybox")
TOYS = ("cat", "chmod", "find", "mkdir", "rm", "sha256sum", "taskset", "touch", "wc")
"""Android's own tools, where they are installed, for the commands that attar gives."""
KHZ = (1_800_000, 2_300_000)
"""Greatest frequency of each core: the last is the fast one."""


def bundled_adb() -> str | None:
    """The adb program on the PATH, or the one inside the wheel of `adbutils`, or None."""
    if program := shutil.which("adb"):
        return program
    spec = find_spec("adbutils")
    path = Path(spec.origin).parent / "binaries" / "adb" if spec and spec.origin else None
    return str(path) if path is not None and path.is_file() and os.access(path, os.X_OK) else None


ADB = bundled_adb()
needs_adb = pytest.mark.skipif(ADB is None, reason="no adb: apt install adb, or pip install adbutils")
runs_programs = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="the stand-in's program is for x86-64 Linux"
)


def furnish(folder: Path, properties: str = PROPERTIES, battery: str = BATTERY) -> Path:
    """Give a phone's folder what it tells of itself."""
    programs = folder / "system/bin"
    programs.mkdir(parents=True)
    for name in TOYS if TOYBOX else ():
        (programs / name).symlink_to(str(TOYBOX))
    write_program(programs / "getprop", f"cat <<'END'\n{properties}END")
    script = f"[ $1 = battery ] && cat <<'END' || cat <<'OTHER'\n{battery}END\n{THERMAL}OTHER"
    write_program(programs / "dumpsys", script)
    for number, khz in enumerate(KHZ):
        core = folder / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        core.mkdir(parents=True)
        for name, value in (("cpuinfo_max_freq", khz), ("scaling_max_freq", khz), ("scaling_governor", "schedutil")):
            (core / name).write_text(f"{value}\n")
    return folder


def write_program(path: Path, script: str) -> None:
    """A program of the phone, in its shell's language."""
    path.unlink(missing_ok=True)  # it may be a link to toybox
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def program(folder: Path, machine: int = 62) -> Path:
    """What stands in for `benchmark_model`; for another `machine` it cannot run here."""
    script = Path(__file__).with_name("benchmark_model.py")
    return launcher(folder / "benchmark_model", sys.executable, script, machine)


@contextmanager
def adb_server(home: Path) -> Iterator[str]:
    """An adb server of our own, so that nobody's phones are touched; yields the program."""
    assert ADB is not None
    own = {
        "ANDROID_ADB_SERVER_PORT": str(free_port()),
        "HOME": str(home),
        "PATH": f"{Path(ADB).parent}:{os.environ['PATH']}",
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        patch.delenv("ANDROID_SERIAL", raising=False)
        subprocess.run([ADB, "start-server"], check=True, capture_output=True, timeout=600)
        try:
            yield ADB
        finally:
            subprocess.run([ADB, "kill-server"], capture_output=True, timeout=600)


@contextmanager
def plugged(folder: Path, **about: Any) -> Iterator[Phone]:
    """A furnished phone that the adb server sees."""
    assert ADB is not None
    with Phone(folder if (folder / "system").is_dir() else furnish(folder), **about) as phone:
        subprocess.run([ADB, "connect", phone.serial], check=True, capture_output=True, timeout=600)
        try:
            yield phone
        finally:
            subprocess.run([ADB, "disconnect", phone.serial], capture_output=True, timeout=600)
