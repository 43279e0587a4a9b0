"""The walk of docs/loop.md: its commands, taken from the page, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from attar.bundle import read_bundle
from attar.deploy.loop.state import LoopFolder, Outcome
from attar.deploy.release.publish import status
from helpers import warm
from helpers.collecting import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "loop.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## A first round in ten minutes") : PAGE.index("## Every later round")]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH on which `attar` and `python` are those of the tests."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in (("attar", warm.attar()), ("python", [sys.executable])):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        script.chmod(0o755)
    return os.pathsep.join([str(folder), os.environ["PATH"]])


def test_every_command_of_the_walk_works_and_the_second_model_goes_out(tmp_path: Path, programs: str) -> None:
    here = tmp_path / "empty"
    here.mkdir()
    environment = {**ENVIRONMENT, "PATH": programs}

    def does(block: str) -> str:
        words = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "Traceback" not in done.stderr, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    digits, first, people, dry, turn, again, back = BLOCKS
    does(digits)
    does(first)
    assert does(people).count("100 new observations by ") == 3
    assert "A round is due: " in does(dry)
    assert not (here / "digits-loop").exists() and not (here / "models").exists()
    assert "\nShip: " in does(turn)
    state = LoopFolder(here / "digits-loop").read()
    assert state and [(each.outcome, each.release) for each in state.rounds] == [(Outcome.SHIPPED, 2)]
    told = json.loads((LoopFolder(here / "digits-loop").run(1) / "retrain.json").read_text())
    assert told["train"] and told["val"]
    assert "nothing new" in does(again).lower()
    assert stable(here) == (2, read_bundle(LoopFolder(here / "digits-loop").run(1) / "student").fingerprint)
    does(back)
    assert stable(here) == (3, read_bundle(here / "runs" / "digits-1" / "student").fingerprint)


def stable(folder: Path) -> tuple[int, str]:
    """The number of what phones have, and which model it is; all files were checked."""
    pointer, releases = status(folder / "models")
    return pointer.number, releases["stable"].model.fingerprint
