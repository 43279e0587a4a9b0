"""A shortfall for a person: shortfall.md beside shortfall.json, and a short table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.benchmarks.report.columns import EMPTY, bracket
from attar.benchmarks.report.comparison import Interval
from attar.benchmarks.report.error_analysis import ClassChange, Shortfall
from attar.benchmarks.report.per_class import Change
from attar.benchmarks.units import percent, points
from attar.export.card import plain, table
from attar.files import write_json, write_text

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 20
"""How many classes a list shows; shortfall.json has all."""

CHOSEN_ON_VALIDATION = (
    "The validation photos were used to choose here. Among several changes the best looks better on them than it is: "
    "measure what you take on other photos."
)

Trials = Mapping[str, Any]
"""What `attar.distill.trials` found, as plain data."""


def write_shortfall(shortfall: Shortfall, output: Path, trials: Trials | None = None) -> Path:
    """Write shortfall.json and shortfall.md into a folder; returns the page's path."""
    write_json(output / "shortfall.json", to_json(shortfall, trials))
    write_text(output / "shortfall.md", markdown(shortfall, trials))
    return output / "shortfall.md"


def to_json(shortfall: Shortfall, trials: Trials | None = None) -> dict[str, Any]:
    """Both as plain data."""
    return {**shortfall.to_json(), "trials": None if trials is None else dict(trials)}


def markdown(shortfall: Shortfall, trials: Trials | None = None) -> str:
    """The page, ending with a newline."""
    names = {model: plain(about["name"]) for model, about in shortfall.models.items()}
    title = f"# Where {names['student']} falls short"
    parts = [title + (f" of {names['teacher']}" if "teacher" in names else "")]
    parts.append(
        f"Recall on {shortfall.images} validation photos. Brackets are 95% intervals of the change, in points, paired "
        f"over photos. A class or confusion is listed as changed if it stands out from chance among all of them (exact "
        f"sign test, false discovery rate 5%). Groups: {shortfall.grouping}."
    )
    parts += ["## By training photos", _groups(shortfall)]
    if "teacher" in names:
        parts += ["## Classes that lost against the teacher", _classes(shortfall, shortfall.lost(), "teacher")]
    if "baseline" in names:
        parts += [f"## Classes that gained on the baseline, {names['baseline']}"]
        parts += [_classes(shortfall, shortfall.gained("baseline"), "baseline")]
        parts += [
            "## Classes that lost against the baseline",
            _classes(shortfall, shortfall.lost("baseline"), "baseline"),
        ]
    if "teacher" in names:
        parts += ["## New confusions", _confusions(shortfall)]
    if trials is not None:
        parts += ["## What may help", *_trials(trials)]
    return "\n\n".join([*parts, *shortfall.notes]) + "\n"


def terminal_table(shortfall: Shortfall) -> Table:
    """The groups, and in the caption what stands out."""
    from rich.table import Table
    from rich.text import Text

    others = [model for model in shortfall.models if model != "student"]
    view = Table(caption=Text("\n".join(summary(shortfall))), caption_justify="left", header_style="bold")
    view.add_column("Group", no_wrap=True)
    for model in shortfall.models:
        view.add_column(model.capitalize(), justify="right", no_wrap=True)
    for model in others:
        view.add_column(f"vs {model}", justify="right")
    for row in shortfall.groups:
        view.add_row(
            row.name,
            *(percent(row.recall[model]) for model in shortfall.models),
            *(_change(row.change[model]) for model in others),
        )
    return view


def summary(shortfall: Shortfall) -> list[str]:
    """What stands out, in a few sentences."""
    lines = [f"{shortfall.images} validation photos. Groups: {shortfall.grouping}."]
    for against in (model for model in shortfall.models if model != "student"):
        lost, gained = shortfall.lost(against), shortfall.gained(against)
        worst = f" (most: {lost[0].label}, {points(lost[0].change[against].value)})" if lost else ""
        lines.append(f"Against the {against}, beyond chance: {len(lost)} classes lost{worst}, {len(gained)} gained.")
    new = [each for each in shortfall.confusions if each.certain]
    if new:
        lines.append(f"New confusions: {'; '.join(f'{c.label} taken for {c.answered}' for c in new[:3])}.")
    return lines


def trials_table(trials: Trials) -> Table:
    """What was tried, for the terminal."""
    from rich.table import Table
    from rich.text import Text

    caption = Text("\n".join([*_headings(trials), CHOSEN_ON_VALIDATION]))
    view = Table(caption=caption, caption_justify="left", header_style="bold")
    titles, *rows = _trial_rows(trials)
    for title in titles:
        view.add_column(title)
    for row in rows:
        view.add_row(*row)
    return view


def _groups(shortfall: Shortfall) -> str:
    others = [model for model in shortfall.models if model != "student"]
    rows = [["group", "classes", "training photos a class", "photos", *shortfall.models, *(f"vs {m}" for m in others)]]
    rows += [
        [
            row.name,
            str(row.classes),
            _range(row.trained),
            str(row.images),
            *(percent(row.recall[model]) for model in shortfall.models),
            *(_change(row.change[m]) for m in others),
        ]
        for row in shortfall.groups
    ]
    return table(rows)


def _classes(shortfall: Shortfall, chosen: Sequence[ClassChange], against: str) -> str:
    rows = [["class", "group", "training photos", "photos", *shortfall.models, f"vs {against}"]]
    rows += [
        [
            plain(row.label),
            row.group,
            str(row.trained),
            str(row.images),
            *(percent(row.recall[model]) for model in shortfall.models),
            _change(row.change[against]),
        ]
        for row in chosen[:SHOWN]
    ]
    below = sum(row.change[against].value < 0 for row in shortfall.classes) - len(shortfall.lost(against))
    above = sum(row.change[against].value > 0 for row in shortfall.classes) - len(shortfall.gained(against))
    rest = f"Below the {against}'s recall by no more than chance explains: {below} classes; above it: {above}."
    more = f" {len(chosen) - SHOWN} further ones are in shortfall.json." if len(chosen) > SHOWN else ""
    return f"{table(rows) if chosen else 'None beyond chance.'}\n\n{rest}{more}"


def _confusions(shortfall: Shortfall) -> str:
    rows = [["photos of", "taken for", "by the student", "by the teacher", "such photos"]]
    rows += [
        [
            plain(each.label),
            plain(each.answered),
            f"{each.student} of {each.images}",
            str(each.teacher),
            ", ".join(plain(name) for name in each.photos),
        ]
        for each in shortfall.confusions
        if each.certain
    ]
    rest = f"Others listed in shortfall.json, which may be chance: {sum(not c.certain for c in shortfall.confusions)}."
    return f"{table(rows) if len(rows) > 1 else 'None beyond chance.'}\n\n{rest}"


def _trials(trials: Trials) -> list[str]:
    return [*_headings(trials), table(_trial_rows(trials)), CHOSEN_ON_VALIDATION]


def _headings(trials: Trials) -> list[str]:
    return [trials["suggestion"], trials["how"], *trials["left_out"]]


def _trial_rows(trials: Trials) -> list[list[str]]:
    level = f"vs control [{100 * trials['level']:.2f}%]"
    rows = [["change", "what", "top-1", level, "verdict"]]
    rows.append(["none (control)", "", percent(trials["control"]), EMPTY, EMPTY])
    for each in trials["tried"]:
        gain = Interval(each["gain"], each["low"], each["high"])
        rows.append([each["change"], each["what"], percent(each["top1"]), _change(gain), each["verdict"]])
    return rows


def _change(change: Change | Interval) -> str:
    return f"{points(change.value)} {bracket(points(change.low), points(change.high))}"


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
