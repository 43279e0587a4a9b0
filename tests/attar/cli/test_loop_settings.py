"""Which settings a call of `attar loop` takes: what was given, what it was before, and what is reset."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer

from attar.cli import app
from attar.cli.loop import RESET, _settings
from attar.deploy.loop.state import LoopFolder, Settings, State
from attar.errors import InputError

BEGUN = Settings(
    "/run",
    "/plants",
    "/site",
    "/plants.pem",
    without=("a",),
    sets=("student.epochs=3",),
    targets=("onnx:fp32",),
    max_flips=0.02,
    pinned="/pinned.txt",
    least=5,
)


@pytest.fixture
def place(tmp_path: Path) -> LoopFolder:
    folder = LoopFolder(tmp_path / "loop")
    with folder.alone():
        folder.write(State(BEGUN))
    return folder


def given(**values: Any) -> dict[str, Any]:
    return {each.name: None for each in fields(Settings)} | values


def test_what_was_set_can_be_emptied_again(place: LoopFolder) -> None:
    assert _settings(place, given()) == BEGUN
    emptied = _settings(place, given(), ["set", "target"])
    assert emptied == replace(BEGUN, sets=(), targets=())
    assert _settings(place, given(), ["max-flips", "pinned", "least"]) == replace(
        BEGUN, max_flips=None, pinned=None, least=20
    )
    assert _settings(place, given(sets=("seed=1",)), ["set"]) == replace(BEGUN, sets=("seed=1",))


@pytest.mark.parametrize("name", ["without", "run", "key", "sets", "targts"])
def test_what_has_no_default_is_not_reset(place: LoopFolder, name: str) -> None:
    with pytest.raises(InputError, match=f"--reset {name}: no option that has a default"):
        _settings(place, given(), [name])


def test_every_setting_with_a_default_can_be_reset_by_the_name_of_its_option() -> None:
    optional = {each.name for each in fields(Settings)} - {"run", "observations", "releases", "key", "without"}
    assert {*RESET.values()} == optional
    options = {
        option
        for each in typer.main.get_command(app).commands["loop"].params  # type: ignore[attr-defined]
        for option in each.opts
    }
    assert {f"--{name}" for name in RESET} <= options
