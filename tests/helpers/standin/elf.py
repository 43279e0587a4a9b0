"""A tiny x86-64 Linux program that becomes another one: `exec INTERPRETER SCRIPT "$@"`.

attar copies nothing to a phone that is no program for its processor, so what stands in for `benchmark_model` has to be
one. Only its first bytes are machine code; the script does the work.
"""

from __future__ import annotations

import struct
from pathlib import Path

_BASE, _HEADERS = 0x400000, 64 + 56
_CODE = bytes.fromhex(
    "48 8b 1c 24"  # mov rbx, [rsp]             the number of words
    "48 8d 54 dc 10"  # lea rdx, [rsp+rbx*8+16]    the environment
    "48 bf 0000000000000000"  # mov rdi, interpreter
    "48 89 3c 24"  # mov [rsp], rdi             stands where the number stood
    "48 b8 0000000000000000"  # mov rax, script
    "48 89 44 24 08"  # mov [rsp+8], rax           stands where the program's name stood
    "48 89 e6"  # mov rsi, rsp               the other words follow as they are
    "b8 3b 00 00 00 0f 05"  # execve
    "bf 7f 00 00 00"  # and if that failed: exit(127)
    "b8 3c 00 00 00 0f 05"
)


def launcher(path: Path, interpreter: str, script: Path, machine: int = 62) -> Path:
    """Write the program; another `machine` number makes it one for another processor, which cannot run here."""
    path.write_bytes(program(interpreter, script, machine))
    path.chmod(0o755)
    return path


def program(interpreter: str, script: Path, machine: int = 62) -> bytes:
    """The program's bytes: ELF header, one segment, code, two strings."""
    first, second = interpreter.encode() + b"\0", str(script).encode() + b"\0"
    strings = _BASE + _HEADERS + len(_CODE)
    code = bytearray(_CODE)
    code[11:19] = struct.pack("<Q", strings)
    code[25:33] = struct.pack("<Q", strings + len(first))
    size = _HEADERS + len(code) + len(first) + len(second)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return identity + header + segment + bytes(code) + first + second
