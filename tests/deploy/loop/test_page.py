"""What a loop remembers, and how it is seen."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from attar.deploy.loop.page import page, summary, write_page
from attar.deploy.loop.state import LoopFolder, Outcome, Round, Settings, State
from attar.deploy.loop.turn import _digest
from attar.errors import InputError
from attar.files import digest_of
from helpers.browser import browsing, chromium, faults, phone, visit

HOSTILE = "<img src=x onerror=alert(1)>"
SETTINGS = Settings("runs/plants-1", "plants", "site", "plants.pem", sets=("student.epochs=3",), max_flips=0.02)
TOLD = {
    "train": 272,
    "val": 70,
    "new": {"train": 2, "val": 1},
    "gone": 1,
    "left_out": {"not reviewed yet": 4, "its label is doubted: look at it again in `attar review`": 61},
    "proposals": [{"name": HOSTILE, "photos": 25, "contributors": 2}],
    "teacher": "The teacher is kept.",
}
FILES = [{"target": "onnx:fp32", "ship": True, "sentence": "", "flips": 3}]
FIRST = Round(
    1,
    "2026-11-01T03:00:00+00:00",
    "runs/plants-1",
    Outcome.SHIPPED,
    "2026-11-01T04:00:00+00:00",
    {"a": "ash", "b": "elm"},
    ("c",),
    "0" * 64,
    TOLD,
    "Ship: 1.3 points better.",
    {"ship": True, "sentence": "Ship: 1.3 points better.", "files": FILES},
    2,
)
HELD = replace(FIRST, number=2, outcome=Outcome.HELD, sentence=f"Hold: {HOSTILE} {'verylongname' * 20}", release=None)
OPEN = Round(3, "2026-11-03T03:00:00+00:00", "rounds/001")
STATE = State(SETTINGS, (FIRST, HELD, OPEN))


def test_what_was_written_is_read_and_what_was_edited_is_refused(tmp_path: Path) -> None:
    folder = LoopFolder(tmp_path / "loop")
    assert folder.read() is None
    with folder.alone():
        folder.write(STATE)
    assert folder.read() == STATE
    folder.state.write_text(folder.state.read_text().replace('"held"', '"shipped"'))
    with pytest.raises(InputError, match="damaged or edited"):
        folder.read()


def test_the_key_of_a_workflow_is_not_the_loops(tmp_path: Path) -> None:
    folder = LoopFolder(tmp_path / "loop")
    theirs = replace(STATE, settings=replace(SETTINGS, key=str(folder.workflow_key), margin=0.01))
    with folder.alone():
        folder.write(STATE)
        folder.write(theirs)
        assert folder.read() == replace(STATE, settings=replace(SETTINGS, margin=0.01))


def test_settings_that_came_later_begin_no_round_of_their_own() -> None:
    old = asdict(SETTINGS) | {"least": 0, "key": "", "releases": "", "observations": ""}
    for name in ("unlabelled", "calibration_error", "primary"):
        del old[name]
    assert _digest(SETTINGS) == digest_of(old)
    assert _digest(replace(SETTINGS, unlabelled=True)) != _digest(SETTINGS) != _digest(replace(SETTINGS, margin=0.1))


def test_the_page_says_what_became_of_each_round() -> None:
    text = page(LoopFolder(Path("loop")), STATE)
    assert "Phones have the model of round 1, release 2." in text
    assert text.index("Round 3") < text.index("Round 2") < text.index("Round 1")
    assert "61: its label is doubted" in text and "3 photos that were right are now wrong" in text
    assert HOSTILE not in text and "&lt;img src=x" in text
    assert "Phones have the first model." in page(LoopFolder(Path("loop")), State(SETTINGS))


def test_a_summary_has_the_gates_tables_and_says_what_came_of_it(tmp_path: Path) -> None:
    folder = LoopFolder(tmp_path / "loop")
    assert summary(folder, "Nothing new <b>.", None) == "### attar loop\n\nNothing new \\<b\\>.\n"
    gate = folder.run(1) / "gate"
    gate.mkdir(parents=True)
    assert summary(folder, "Hold: broken.", 1) == "### attar loop, round 1\n\nHold: broken.\n"
    (gate / "gate.md").write_text("**Ship: better.**\n\n| file |\n| --- |\n")
    assert summary(folder, "Ship: better.", 1).count("Ship: better.") == 1
    rows = (
        "| right before, wrong now | shows | is now taken for |\n| --- | --- | --- |\n| my garden/1.jpg | ash | elm |"
    )
    (gate / "gate.md").write_text(f"**Ship: better.**\n\n| file |\n| --- |\n\n{rows}\n\nLook 1 of 20.\n")
    told = summary(folder, "Ship: better.", 1)
    assert "garden" not in told and "elm" not in told and told.endswith("wrong: 1.\n\nLook 1 of 20.\n")
    failed = summary(folder, "Hold: no key.", 1)
    assert failed.index("Hold: no key.\n\n") < failed.index("**Ship: better.**") < failed.index("| file |")


@pytest.mark.slow
def test_axe_finds_nothing_and_nothing_runs_out_of_the_page(tmp_path: Path) -> None:
    chromium()
    folder = LoopFolder(tmp_path)
    write_page(folder, STATE)
    with browsing() as browser:
        for dark in (False, True):
            wide = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark" if dark else "light"}
            for look in (phone(dark), wide):
                complaints: list[str] = []
                seen = visit(browser, folder.page.as_uri(), complaints, **look)
                assert faults(seen) == [] and not complaints
                assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth")
