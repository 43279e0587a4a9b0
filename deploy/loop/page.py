"""A loop's page: each round, what came in, what was learned, what was refused and why, and where it went."""

from __future__ import annotations

import os
from pathlib import Path

from attar.deploy.loop.state import LoopFolder, Outcome, State
from attar.deploy.release.gate_page import without_photos
from attar.export.card import plain
from attar.extras import require
from attar.files import write_text

_TEMPLATE = Path(__file__).with_name("loop.html")


def write_page(folder: LoopFolder, state: State) -> None:
    """Write index.html."""
    write_text(folder.page, page(folder, state))


def page(folder: LoopFolder, state: State) -> str:
    """The page as text. What comes from users is escaped by the template."""
    environment = require("jinja2").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    shipped = [each for each in state.rounds if each.outcome is Outcome.SHIPPED]
    return str(
        template.render(
            settings=state.settings,
            rounds=list(reversed(state.rounds)),
            last=shipped[-1] if shipped else None,
            first=_relative(folder, Path(state.settings.run)),
            run=lambda number: _relative(folder, folder.run(number)),
            words={
                Outcome.OPEN: "going on, or interrupted",
                Outcome.SHIPPED: "published",
                Outcome.HELD: "held",
                Outcome.FAILED: "failed",
            },
        )
    )


def summary(folder: LoopFolder, sentence: str, number: int | None) -> str:
    """What a call did as Markdown, with the gate's tables if a round got so far; ends with a newline.

    It names no photo but pinned ones that break: it may be read where the photos must not go.

    Args:
        folder: the loop's.
        sentence: what the call says.
        number: of the round that ended; None if none was due.
    """
    title = "### attar loop" if number is None else f"### attar loop, round {number}"
    decision = None if number is None else folder.run(number) / "gate" / "gate.md"
    tables = without_photos(decision.read_text(encoding="utf-8")) if decision and decision.is_file() else ""
    said = "" if plain(sentence) in tables else f"{plain(sentence)}\n"  # the gate's begin with what it decided
    return "\n".join([f"{title}\n", *filter(None, [said, tables])])


def _relative(folder: LoopFolder, path: Path) -> str:
    """An address that works where the page is opened from the disk."""
    return Path(os.path.relpath(path.resolve(), folder.path.resolve())).as_posix()
