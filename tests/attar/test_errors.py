"""What messages carry to a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from attar.errors import in_line, printable


def test_control_characters_and_undecodable_bytes_are_escaped() -> None:
    assert printable("a\x1b[2Jb\x07\x9b\udce9\u202e") == r"a\x1b[2Jb\x07\x9b\udce9\u202e"
    assert printable("été 漢字 🌹\n\tmore") == "été 漢字 🌹\n\tmore"
    assert in_line("a\nb\tc\u2028d") == r"a\nb\tc\u2028d"


def test_the_command_line_sends_no_control_character_of_a_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"no\x1b[31m\xe9such")
    done = subprocess.run(
        [sys.executable, "-m", "attar", "distill", "--data", str(tmp_path / name), "--output", str(tmp_path / "o")],
        capture_output=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 2 and b"\x1b" not in done.stderr and rb"no\x1b[31m" in done.stderr
