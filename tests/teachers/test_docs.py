"""The page about teachers: its commands are valid, every method and family is on it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from attar.recipe import read_recipe
from attar.teachers.families import FAMILIES, needs_of
from attar.teachers.fit import METHODS

PAGE = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("attar teach ")]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[-1])
def test_a_command_of_the_page_is_valid(words: list[str]) -> None:
    values = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    if "--ensemble" in words:
        members = [words[i + 1] for i, word in enumerate(words) if word == "--ensemble"]
        values += ["teacher.method=ensemble", f"teacher.members={members}"]
    assert read_recipe(None, values).teacher is not None


def test_every_method_has_its_command_and_its_row() -> None:
    shown = {word.partition("=")[2] for words in COMMANDS for word in words if word.startswith("teacher.method=")}
    assert shown | {"finetune", "ensemble"} == set(METHODS)
    assert set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)) == set(METHODS)


def test_the_table_is_what_the_command_prints() -> None:
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in PAGE.splitlines() if line.startswith("│")]
    assert [row[:2] for row in rows] == [[family, name] for family, names in FAMILIES.items() for name in names]
    for each in needs_of(["vit_tiny_patch16_224", "vit_small_patch16_dinov3"]):
        (row,) = (row for row in rows if row[1] == each.name)
        gigabytes = [f"{size / 1e9:.2f}" for size in (each.weights_bytes, each.batch_bytes)]
        assert row[2:] == [str(each.size), f"{each.parameters / 1e6:.1f}", *gigabytes]
