"""What messages carry to a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attar.cli.shown import show
from attar.errors import in_line, printable


def test_control_characters_and_undecodable_bytes_are_escaped() -> None:
    assert printable("a\x1b[2Jb\x07\x9b\udce9\u202e") == r"a\x1b[2Jb\x07\x9b\udce9\u202e"
    assert printable("été 漢字 🌹\n\tmore") == "été 漢字 🌹\n\tmore"
    assert in_line("a\nb\tc\u2028d") == r"a\nb\tc\u2028d"


def test_the_command_line_sends_no_control_character_of_a_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"no\x1b[31m\xe9such")
    done = subprocess.run(
        [sys.executable, "-m", "attar", "distill", "--data", str(tmp_path / name), "--output", str(tmp_path / "o")],
        capture_output=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2 and b"\x1b" not in done.stderr and rb"no\x1b[31m" in done.stderr


def test_json_of_a_name_that_is_no_text_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"path": os.fsdecode(b"caf\xe9 \x1b.png"), "label": "été"}
    show(value, True, None)
    text = capsys.readouterr().out
    assert json.loads(text) == value and "été" in text and "\x1b" not in text
