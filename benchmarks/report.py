"""The report: report.json for programs, report.html for a person, and the same table for terminal and docs.

The page is one file that opens offline: style, pictures and photos are inside it. Everything that
comes from a user (class names, file names, messages) is escaped by the template.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from attar.extras import require
from attar.files import write_json, write_text
from attar.images import UnreadableImage, read_rgb
from benchmarks.columns import EMPTY, columns
from benchmarks.comparison import Comparison, Example
from benchmarks.intervals import percentile_estimates
from benchmarks.operators import kinds, shares
from benchmarks.picture import latency_svg, picture, reliability_svg
from benchmarks.record import Record
from benchmarks.units import estimate_text, interval_text, megabytes, milliseconds, number, percent, points

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from benchmarks.gate import Judgement
    from benchmarks.measurement import Measurement

__all__ = ["markdown_table", "picture", "records_table", "terminal_table", "write_report"]

THUMBNAIL = 176
"""Longer side of an example photo in the page, pixels."""

_TEMPLATE = Path(__file__).with_name("page.html")


def write_report(comparison: Comparison, output: Path) -> Path:
    """Write report.json and report.html into a folder; returns the page's path.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
        InputError: the folder cannot be written.
    """
    page = render(comparison)
    write_json(Path(output) / "report.json", comparison.to_json())
    write_text(Path(output) / "report.html", page)
    return Path(output) / "report.html"


def render(comparison: Comparison) -> str:
    """The whole page as text."""
    jinja2 = require("jinja2")
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(percent=percent, points=points, ms=milliseconds, size=megabytes, number=number)
    svg = latency_svg(comparison)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        it=comparison,
        columns=columns(comparison),
        chosen=comparison.row(comparison.choice.target or ""),
        student=comparison.row("student"),
        teacher=comparison.row("teacher"),
        # Drawn by matplotlib, which escapes text itself; nothing else enters the page unescaped.
        picture=Markup(svg) if svg else None,
        reliability=Markup(reliability_svg(comparison)),
        examples=[(example, _thumbnail(example)) for example in comparison.examples],
        empty=EMPTY,
    )


def terminal_table(comparison: Comparison) -> Table:
    """The main table for a terminal of 80 characters: the report has the other columns and intervals."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=_caption(comparison), caption_justify="left", header_style="bold")
    wanted = [column for column in columns(comparison) if column.brief]
    for column in wanted:
        table.add_column(column.title, justify="right" if column.numeric else "left", no_wrap=True)
    for row in comparison.rows:
        chosen = row.name == comparison.choice.target
        first, top1, *cells = (column.cell(row) for column in wanted)
        name = Text(first.main, style="bold green" if chosen else "")
        table.add_row(name, Text.assemble(top1.main, (f" {top1.detail}", "dim")), *(cell.main for cell in cells))
    return table


def markdown_table(comparison: Comparison) -> str:
    """The main table in Markdown, ending with a newline; the file to take is bold."""
    wanted = columns(comparison)
    lines = [
        _markdown_line([column.title for column in wanted]),
        _markdown_line(["---:" if column.numeric else "---" for column in wanted]),
    ]
    for row in comparison.rows:
        first, *cells = (column.cell(row) for column in wanted)
        name = f"**{first.main}**" if row.name == comparison.choice.target else first.main
        lines.append(_markdown_line([name, *map(str, cells)]))
    return "\n".join(lines) + "\n"


def records_table(found: Measurement) -> Table:
    """What `attar bench` found, for a terminal."""
    from rich.table import Table

    runtimes = dict.fromkeys(map(_ran_by, found.records))
    threads = found.records[0].threads
    caption = (
        f"Milliseconds. {', '.join(runtimes)}; {threads} thread{'s' if threads > 1 else ''}. Brackets: 95% intervals."
    )
    lines = [caption, *(f"{ratio}." for ratio in found.ratios)]
    table = Table(header_style="bold", caption="\n".join(lines), caption_justify="left")
    runs = list(dict.fromkeys(each.run for each in found.records))
    for title in (*(["Device"] if len(runs) > 1 else []), "Target", "p50", "", "p90", "p99", "Load", "First", "Memory"):
        table.add_column(title, justify="left" if title in ("Device", "Target", "") else "right", no_wrap=True)
    for record in found.records:
        middle = [sorted(values)[len(values) // 2] / 1e6 for values in (record.load, record.first)]
        estimates = percentile_estimates(record.rounds)
        p50, p90, p99 = (number(each.value / 1e6) for each in estimates)
        name = f"{_device(record)} {record.device.get('serial') or ''}".strip()
        table.add_row(
            *([name] if len(runs) > 1 else []), record.target, p50, interval_text(estimates[0], 1e-6), p90, p99,
            *map(number, middle),
            megabytes(record.peak_memory) if record.peak_memory is not None else EMPTY,
        )  # fmt: skip
    return table


def operators_table(record: Record, most: int = 10) -> Group:
    """A file's slowest operators, for a terminal; beneath them the same by kind."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    operators = record.operators or ()
    total = sum(each["nanoseconds"] for each in operators)
    whole = record.conditions.get("profile")
    of = f" of the {milliseconds(whole['inference'] / 1e6)} of a profiled inference" if whole else ""
    about = Text.assemble((record.target, "bold"), f": {len(operators)} operators, {milliseconds(total / 1e6)}{of}")
    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for heading in ("ms", "Share", "Operator", "Layer"):
        table.add_column(heading, justify="right" if heading in ("ms", "Share") else "left", overflow="fold")
    every = list(zip(operators, shares(operators)))
    for each, share in every[:most]:
        table.add_row(number(each["nanoseconds"] / 1e6), percent(share), Text(each["operator"]), Text(each["name"]))
    if rest := every[most:]:
        spent = sum(each["nanoseconds"] for each, _ in rest) / 1e6
        table.add_row(number(spent), percent(sum(share for _, share in rest)), f"{len(rest)} others", "")
    by_kind = ", ".join(f"{percent(share)} {kind} ({count})" for kind, count, share in kinds(operators)[:5])
    return Group(about, table, Text(f"By kind: {by_kind}\n"))


def judgements_table(judgements: Sequence[Judgement]) -> Table:
    """Files against their baseline, for a terminal."""
    from rich.table import Table

    table = Table(header_style="bold")
    for title in ("Target", "Figure", "x baseline", "Compared", "Condition", "Outcome"):
        table.add_column(title)
    for each in judgements:
        asked = "" if each.condition is None else f"at most {each.condition.limit:g}x"
        outcome = each.outcome if each.condition else ""
        table.add_row(each.target, each.figure, estimate_text(each.ratio), each.way, asked, outcome)
    return table


def history_table(records: Sequence[Record], tags: Mapping[str, Sequence[str]]) -> Table:
    """The measurements of a database, for a terminal."""
    from rich.table import Table

    table = Table(header_style="bold")
    for title in ("Measured", "Tags", "Target", "Device", "Runtime", "Threads", "p50 ms", "File"):
        table.add_column(title)
    for each in records:
        p50 = number(each.percentiles["p50"] / 1e6)
        table.add_row(
            each.measured[:19].replace("T", " "), ", ".join(tags.get(each.run, ())), each.target, _device(each),
            f"{each.runtime['name']} {each.runtime['version']}", str(each.threads), p50, each.sha256[:12],
        )  # fmt: skip
    return table


def _device(record: Record) -> str:
    if record.device.get("kind") == "browser":
        told = (record.device.get(name) for name in ("model", "os", "browser"))
        return ", ".join(str(each) for each in told if each) or "a browser that tells nothing"
    return str(record.device.get("model") or record.device.get("cpu") or record.device.get("os") or "unknown")


def _ran_by(record: Record) -> str:
    """Runtime and version, and the phone if it was one."""
    phone = f", {record.device['model']}" if record.device.get("kind") == "android" else ""
    return f"{record.runtime['name']} {record.runtime['version']}{phone}"


def _caption(comparison: Comparison) -> str:
    choice = comparison.choice
    why = " ".join(choice.reasons)
    return f"{comparison.images} validation photos. " + (f"Take {choice.file}. {why}" if choice.file else why)


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _thumbnail(example: Example) -> str | None:
    """The photo as a small JPEG data URI; None when it is gone since the comparison."""
    if example.photo is None:
        return None
    try:
        image = read_rgb(example.photo, example.part)
    except UnreadableImage:
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    if max(image.size) < 96:
        # A tiny picture is enlarged by whole pixels, so that it is seen as it is.
        factor = THUMBNAIL // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
