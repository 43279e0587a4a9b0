"""The `benchmark_model` program that the user brings: where it is, and which phones it can run on."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attar.errors import InputError
from attar.files import sha256

VARIABLE = "ATTAR_BENCHMARK_MODEL"
"""Environment variable with the path of the program."""

WHERE = (
    "LiteRT's site has prebuilt programs for android_aarch64 (nearly every phone) and android_arm "
    '(https://ai.google.dev/edge/litert, "benchmark tools"); from source: bazel build -c opt --config=android_arm64 '
    "//tflite/tools/benchmark:benchmark_model"
)

_ABIS = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86", 243: "riscv64"}
_INTERPRETER = 3


@dataclass(frozen=True)
class Tool:
    """The program's path, the Android ABI it was built for, and the SHA-256 of its content: it tells no version."""

    path: Path
    abi: str
    sha256: str

    def check_runs_on(self, abis: Sequence[str], serial: str) -> None:
        """Refuse a phone whose processor cannot run the program."""
        if abis and self.abi not in abis:  # none: the phone does not tell
            raise InputError(
                f"{self.path}: built for {self.abi}, and phone {serial} runs {', '.join(abis)}. Give --benchmark-model "
                f"the program for {abis[0]}. {WHERE}."
            )


def find_tool(path: Path | None) -> Tool:
    """The program that the user named, by option or environment.

    Raises:
        InputError: not named, not there, or no program for Android.
    """
    named = path or (Path(os.environ[VARIABLE]).expanduser() if os.environ.get(VARIABLE) else None)
    if named is None:
        raise InputError(f"--benchmark-model: give the path of benchmark_model, or set ${VARIABLE}. {WHERE}.")
    if not named.is_file():
        raise InputError(f"{named}: no such file. --benchmark-model is the path of benchmark_model. {WHERE}.")
    return Tool(named, abi_of(named), sha256(named))


def abi_of(path: Path) -> str:
    """The Android ABI of an ELF program.

    Raises:
        InputError: not an ELF program, one for an unknown processor, or one for desktop Linux.
    """
    content = path.read_bytes()
    try:
        machine, interpreter = _read_elf(content)
    except (struct.error, ValueError, IndexError):
        raise InputError(f"{path}: not a program for Android (no ELF file). {WHERE}.") from None
    if machine not in _ABIS:
        raise InputError(f"{path}: built for a processor that no phone has (ELF machine {machine}). {WHERE}.")
    if interpreter and b"/linker" not in interpreter:
        raise InputError(f"{path}: built for desktop Linux, not for Android ({interpreter.decode('latin1')}). {WHERE}.")
    return _ABIS[machine]


def _read_elf(content: bytes) -> tuple[int, bytes]:
    """Machine number, and path of the program's loader (empty where it has none)."""
    if content[:4] != b"\x7fELF" or content[5] != 1:
        raise ValueError("not a little-endian ELF file")
    wide = content[4] == 2
    (machine,) = struct.unpack_from("<H", content, 18)
    (table,) = struct.unpack_from("<Q" if wide else "<I", content, 32 if wide else 28)
    entry, count = struct.unpack_from("<HH", content, 54 if wide else 42)
    for number in range(count):
        at = table + number * entry
        if struct.unpack_from("<I", content, at)[0] == _INTERPRETER:
            (start,) = struct.unpack_from("<Q" if wide else "<I", content, at + (8 if wide else 4))
            (size,) = struct.unpack_from("<Q" if wide else "<I", content, at + (32 if wide else 16))
            return machine, content[start : start + size].rstrip(b"\0")
    return machine, b""
