"""A gate's decision: a table for the terminal, Markdown for a pull request, and a page that opens offline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.benchmarks.units import percent, points
from attar.deploy.release import ledger
from attar.deploy.release.gate import Gate
from attar.deploy.release.primary import limits_of
from attar.deploy.release.verdict import Check, Verdict
from attar.export.card import plain, table
from attar.extras import require
from attar.files import write_json, write_text

if TYPE_CHECKING:
    from rich.console import Group

FLIPS = ["right before, wrong now", "shows", "is now taken for"]
"""Head of the table that names photos."""

SHOWN = 20
"""Photos and classes that the terminal and Markdown list; the page and gate.json have all."""

_TEMPLATE = Path(__file__).with_name("gate.html")


def write_gate(gate: Gate, output: Path) -> Path:
    """Write gate.md, gate.html and, last, gate.json into a folder; returns the page's path."""
    write_text(output / "gate.md", markdown(gate))
    write_text(output / "gate.html", page(gate))
    write_json(output / "gate.json", gate.to_json())
    return output / "gate.html"


def looks(gate: Gate) -> str:
    """How often these photos have decided, in words."""
    chance = f"{100 * ledger.CHANCE:g}%"
    margin = 100 * gate.limits.margin
    kind = f"loses {margin:g} point{'' if margin == 1 else 's'} or more" if margin else "is no better"
    if gate.primary:
        kind = f"is no better by its {gate.primary}, or {kind} by another file,"
    return (
        f"Look {gate.look} of {ledger.LOOKS} at these photos. All of them together promote a model that {kind} in at "
        f"most {chance} of all cases, so each test of a gain has a level of {100 * ledger.level():g}%."
    )


def new_classes(gate: Gate) -> str:
    """What the challenger's new classes are worth; empty if it has none."""
    photos, right = gate.new
    if not photos:
        return ""
    return f"Beside it: of {photos} photos of new classes, which the champion cannot name, it has {right} right."


def markdown(gate: Gate) -> str:
    """The decision, a table of files, and what a reader would ask next; ends with a newline."""
    parts = [f"**{plain(gate.sentence)}**", _files(gate)]
    for verdict in gate.verdicts:
        failed = [f"- {check.name}: {plain(check.words)}" for check in verdict.checks if not check.passed]
        if failed:
            parts += [f"{plain(verdict.target)} does not pass:", "\n".join(failed)]
    parts += [_flips(gate.verdicts[0]), *filter(None, [new_classes(gate)]), looks(gate)]
    return "\n\n".join(parts) + "\n"


def without_photos(text: str) -> str:
    """What `markdown` gave, without the table that names photos: for readers who have not the photos."""
    head = table([FLIPS]).splitlines()[0]
    before, found, rest = text.partition(f"{head}\n")
    if not found:
        return text
    rows, rest = rest.split("\n\n", 1)
    count = len(rows.splitlines()) - 1  # the line below the head
    return f"{before}Photos that were right and are now wrong: {count}{' or more' if count == SHOWN else ''}.\n\n{rest}"


def _files(gate: Gate) -> str:
    titles = ["file", "champion", "challenger", "gain", "right now", "wrong now", "p", "calibration error", "decision"]
    rows = [titles]
    for each in gate.verdicts:
        value, low, high = each.gain
        gain = f"{points(value)} [{points(low)}, {points(high)}]"
        decision = "ship" if each.ship else "hold"
        before, now = map(percent, each.top1)
        counts = [str(each.won), str(each.lost), f"{each.p:.2g}"]
        rows.append([plain(each.target), before, now, gain, *counts, _calibration(each), decision])
    return table(rows)


def _calibration(verdict: Verdict) -> str:
    """The champion's calibration error and the challenger's, in points."""
    both = verdict.calibration
    return f"{100 * both.champion:.1f}, now {100 * both.challenger:.1f}" if both else ""


def _flips(verdict: Verdict) -> str:
    if not verdict.flips:
        return f"{plain(verdict.target)}: no photo that was right is now wrong."
    rows = [FLIPS]
    rows += [[plain(each.photo), plain(each.label), plain(each.answer)] for each in verdict.flips[:SHOWN]]
    more = f"\n\nAnd {len(verdict.flips) - SHOWN} more, which gate.json names." if len(verdict.flips) > SHOWN else ""
    return table(rows) + more


def _tests(gate: Gate) -> dict[str, str]:
    """What the p of each file is of."""
    margins = {each.target: limits_of(each.target, gate.primary, gate.limits).margin for each in gate.verdicts}
    names = {True: "one-sided score test of Tango", False: "one-sided exact McNemar test"}
    return {target: names[margin > 0] for target, margin in margins.items()}


def page(gate: Gate) -> str:
    """The whole page as text. What comes from users is escaped by the template."""
    environment = require("jinja2").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, points=points)
    return str(
        environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
            it=gate, looks=looks(gate), new=new_classes(gate), tests=_tests(gate)
        )
    )


def terminal(gate: Gate) -> Group:
    """The decision, every file or the checks of the only one, and the first photos that are now wrong."""
    from rich.console import Group
    from rich.text import Text

    from attar.errors import in_line

    style = "bold green" if gate.ship else "bold red"
    parts: list[Any] = [Text(in_line(gate.sentence), style=style)]
    if len(gate.verdicts) == 1:
        parts.append(_view(["Check", "", "Found"], [_marked(check) for check in gate.verdicts[0].checks]))
    else:
        parts.append(_view(["File", "Top-1 before", "now", "Gain", "Now wrong", ""], map(_row, gate.verdicts)))
        for verdict in gate.verdicts:  # the gain stands in the table
            found = [check for check in verdict.checks if not check.passed and check.name != "gain"]
            parts += [Text(in_line(f"{verdict.target}, {check.name}: {check.words}.")) for check in found]
    if flips := gate.verdicts[0].flips:
        titles = ["Right before, wrong now", "Shows", "Is now taken for"]
        parts.append(_view(titles, [[each.photo, each.label, each.answer] for each in flips[:SHOWN]]))
    if new := new_classes(gate):
        parts.append(Text(new))
    return Group(*parts, Text(looks(gate)))


def _view(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A table; texts of users are shown as they are."""
    from rich.table import Table
    from rich.text import Text

    from attar.errors import in_line

    view = Table(header_style="bold")
    for title in titles:
        view.add_column(title, overflow="fold")
    for row in rows:
        view.add_row(*(each if isinstance(each, Text) else Text(in_line(each)) for each in row))
    return view


def _marked(check: Check) -> list[Any]:
    from rich.text import Text

    return [check.name, Text("passed", "green") if check.passed else Text("failed", "red"), check.words]


def _row(verdict: Verdict) -> list[Any]:
    from rich.text import Text

    value, low, high = verdict.gain
    gain = f"{points(value)} [{points(low)}, {points(high)}]"
    decision = Text("ship", "green") if verdict.ship else Text("hold", "red")
    return [verdict.target, *map(percent, verdict.top1), gain, str(verdict.lost), decision]
