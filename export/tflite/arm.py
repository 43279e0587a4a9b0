"""An ARM machine for LiteRT on another processor: a folder of Debian's ARM Python, run by qemu's user emulation.

Phones run XNNPACK's NEON kernels, and those of this machine are others. Nothing is installed: the folder holds Debian's
packages, unpacked, with LiteRT's and NumPy's ARM wheels, and lies in the user's cache.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from attar.console import say
from attar.errors import InputError
from attar.extras import version
from attar.files import remove, user_cache

EMULATOR, UNPACKER = "qemu-aarch64", "mmdebstrap"
RELEASE, PYTHON = "bookworm", "3.11"
"""Debian's release, and its Python, which the wheels are for."""

REMEDY = (
    "On Debian and Ubuntu: apt install qemu-user mmdebstrap. qemu 10.0 works; 7.2, which Debian 12 has, crashes in "
    "LiteRT, so take it from bookworm-backports there."
)


@dataclass(frozen=True)
class Machine:
    """How to start the ARM Python: the command, its environment, and the emulator's version for the record."""

    python: tuple[str, ...]
    environment: dict[str, str]
    emulator: str


def native() -> bool:
    """Whether this machine is a 64-bit ARM itself, and its ordinary run the ARM run."""
    return platform.machine().lower() in ("aarch64", "arm64")


def machine() -> Machine:
    """The ARM machine, set up on first use (some 180 MB, from Debian's archive and the Python package index).

    Raises:
        InputError: a tool is missing or too old, or the set-up failed.
    """
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        raise InputError(f"--arm needs {EMULATOR}, and it is not installed. {REMEDY}")
    name = _version(emulator)
    root = _cache() / f"{RELEASE}-litert-{version('ai-edge-litert')}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f"{root.name}.lock")):
        if not root.is_dir():
            _set_up(root)
    python = (emulator, "-L", str(root), str(root / "usr/bin/python3"))
    return Machine(python, {"PYTHONPATH": str(root / "attar"), "PATH": os.defpath}, name)


def _set_up(root: Path) -> None:
    unpacker = shutil.which(UNPACKER)
    if unpacker is None:
        raise InputError(f"--arm needs {UNPACKER} to set up its machine, and it is not installed. {REMEDY}")
    say(f"Setting up an ARM machine in {root} (once, some 180 MB) ...")
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=root.parent))
    try:
        made = temporary / "root"
        _step([unpacker, "--variant=extract", "--architectures=arm64", "--include=python3,libstdc++6", RELEASE, made])
        litert = f"ai-edge-litert=={version('ai-edge-litert')}"
        platforms = [f"--platform={name}_aarch64" for name in ("manylinux_2_28", "manylinux_2_27", "manylinux2014")]
        _step(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--target",
                made / "attar",
                *platforms,
                "--only-binary=:all:",
                "--implementation=cp",
                f"--python-version={PYTHON}",
                "--no-compile",
                litert,
                "numpy",
            ]
        )
        made.rename(root)
    finally:
        remove(temporary)


def _step(command: Sequence[object]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        name = Path(str(command[0])).name
        raise InputError(f"--arm: its machine could not be set up: {name} failed.\n{done.stderr[-1500:].strip()}")


def _version(emulator: str) -> str:
    """The emulator's version, once it is one that LiteRT is not known to crash in."""
    text = subprocess.run([emulator, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"version (\d+)\.([\d.]+)", text)
    if match and int(match[1]) <= 7:
        raise InputError(f"--arm: {emulator} is qemu {match[1]}.{match[2]}, in which LiteRT crashes. {REMEDY}")
    return f"qemu {match[1]}.{match[2]}" if match else "qemu"


def _cache() -> Path:
    return user_cache() / "arm"
