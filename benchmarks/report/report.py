"""The report as files, and the same figures for a terminal.

report.html    for a person: one file that opens offline (`attar.benchmarks.report.html`)
report.json    for programs: everything, with intervals
report.md      for a README or a pull request (`attar.benchmarks.report.summary`)
report.png     accuracy against latency on each device (`attar.benchmarks.report.picture`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attar.benchmarks.latency.intervals import percentile_estimates
from attar.benchmarks.latency.op_profile import kinds, shares
from attar.benchmarks.latency.record import Record
from attar.benchmarks.report.columns import EMPTY, columns
from attar.benchmarks.report.comparison import Comparison
from attar.benchmarks.report.html import render
from attar.benchmarks.report.picture import drawn, picture
from attar.benchmarks.report.summary import markdown, markdown_table
from attar.benchmarks.units import estimate_text, interval_text, milliseconds, number, percent
from attar.errors import InputError, did_you_mean, in_line
from attar.files import json_text, write_bytes, write_text
from attar.geo.combine import gain_in_words

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from attar.benchmarks.latency.gate import Judgement
    from attar.benchmarks.latency.session import Measurement

__all__ = ["markdown_table", "picture", "records_table", "render", "terminal_table", "write_report"]

FORMATS: dict[str, Callable[[Comparison], str | bytes]] = {
    "html": render,
    "json": lambda comparison: json_text(comparison.to_json()),
    "md": markdown,
    "png": lambda comparison: drawn(comparison, "png"),
    "svg": lambda comparison: drawn(comparison, "svg"),
}
"""File name's ending -> the content of such a file."""
DEFAULT = ("json", "html")


def write_report(comparison: Comparison, output: Path | str, formats: Sequence[str] = DEFAULT) -> Path:
    """Write report.html and report.json, or what else is asked for.

    Args:
        comparison: what to show.
        output: the folder; or a file, whose ending then says which of `FORMATS` it is.
        formats: of `FORMATS`, for a folder.

    Returns:
        The page, if it is among the files, or else the last one.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
        InputError: an unknown format, or what cannot be written.
    """
    output = Path(output)
    check_formats(formats)
    paths = {output / f"report.{format}": format for format in formats}
    if is_file(output):
        paths = {output: output.suffix[1:].lower()}
    contents = {path: FORMATS[format](comparison) for path, format in paths.items()}  # all, before any is written
    for path, content in contents.items():
        if isinstance(content, str):
            write_text(path, content)
        else:
            write_bytes(path, content)
    return next((each for each in paths if paths[each] == "html"), path)


def is_file(output: Path) -> bool:
    """Whether a user who names this means one file, not a folder."""
    return output.suffix[1:].lower() in FORMATS and not output.is_dir()


def check_formats(formats: Sequence[str]) -> None:
    """Refuse an unknown format, before any work is done."""
    for format in formats:
        if format not in FORMATS:
            raise InputError(f"--format {format}: one of {', '.join(FORMATS)}.{did_you_mean(format, FORMATS)}")


def terminal_table(comparison: Comparison) -> Table:
    """The main table for a terminal of 80 characters: the report has the other columns and intervals."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=Text(_caption(comparison)), caption_justify="left", header_style="bold")
    wanted = [column for column in columns(comparison) if column.brief]
    for column in wanted:
        table.add_column(column.title, justify="right" if column.numeric else "left", no_wrap=True)
    for row in comparison.rows:
        chosen = row.name == comparison.choice.target and comparison.readiness.ready
        first, top1, *cells = (column.cell(row) for column in wanted)
        name = Text(first.main, style="bold green" if chosen else "")
        table.add_row(name, Text.assemble(top1.main, (f" {top1.detail}", "dim")), *(cell.main for cell in cells))
    return table


def records_table(measured: Measurement) -> Table:
    """What `attar bench` found, for a terminal."""
    from rich.table import Table
    from rich.text import Text

    runtimes = dict.fromkeys(map(_ran_by, measured.records))
    threads = measured.records[0].threads
    caption = (
        f"Milliseconds, and megabytes of memory. {', '.join(runtimes)}; {_threads(threads)}. Brackets: 95% intervals."
    )
    several = _in_several_runtimes(measured.records)
    lines = [caption, *(f"{ratio}{f' in {ratio.runtime}' if several else ''}." for ratio in measured.ratios)]
    table = Table(header_style="bold", caption=Text("\n".join(lines)), caption_justify="left")
    runs = list(dict.fromkeys(each.run for each in measured.records))
    texts = [*(["Device"] if len(runs) > 1 else []), "Target", *(["Runtime"] if several else [])]
    for title in (*texts, "p50", "", "p90", "p99", "Load", "First", "MB"):
        table.add_column(title, justify="left" if title in (*texts, "") else "right", no_wrap=True)
    for record in measured.records:
        middle = [sorted(values)[len(values) // 2] / 1e6 for values in (record.load, record.first)]
        estimates = percentile_estimates(record.rounds)
        p50, p90, p99 = (number(each.value / 1e6) for each in estimates)
        name = f"{_device(record)} {record.device.get('serial') or ''}".strip()
        cells = (
            *([name] if len(runs) > 1 else []),
            record.target,
            *([record.runtime["name"]] if several else []),
            p50,
            interval_text(estimates[0], 1e-6),
            p90,
            p99,
            *map(number, middle),
            number(record.peak_memory / 1e6) if record.peak_memory is not None else EMPTY,
        )
        table.add_row(*(Text(in_line(cell)) for cell in cells))
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
    from rich.text import Text

    table = Table(header_style="bold")
    several = _in_several_runtimes(judgements)
    titles = ("Target", *(["Runtime"] if several else []), "Figure", "x baseline", "Compared", "Condition", "Outcome")
    for title in titles:
        table.add_column(title)
    for each in judgements:
        asked = "" if each.condition is None else f"at most {each.condition.limit:g}x"
        outcome = each.outcome if each.condition else ""
        named = [each.target, *([each.runtime] if several else [])]
        cells = (*named, each.figure, estimate_text(each.ratio), each.way, asked, outcome)
        table.add_row(*(Text(in_line(cell)) for cell in cells))
    return table


def _in_several_runtimes(rows: Sequence[Record] | Sequence[Judgement]) -> bool:
    """Whether a target alone does not tell which of them is meant."""
    names: dict[str, set[str]] = {}
    for each in rows:
        runtime = each.runtime["name"] if isinstance(each, Record) else each.runtime
        names.setdefault(each.target, set()).add(runtime)
    return any(len(each) > 1 for each in names.values())


def history_table(records: Sequence[Record], tags: Mapping[str, Sequence[str]]) -> Table:
    """The measurements of a database, for a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for title in ("Measured", "Tags", "File", "Device", "Runtime", "p50 ms"):
        table.add_column(title)
    for each in records:
        p50 = number(each.percentiles["p50"] / 1e6)
        cells = (
            each.measured[:19].split("T"),
            [", ".join(tags.get(each.run, ()))],
            [each.target, each.sha256[:8]],
            [_device(each)],
            [f"{each.runtime['name']} {each.runtime['version']}, {_threads(each.threads)}"],
            [p50],
        )
        # Text is text: a tag may look like markup.
        table.add_row(*(Text("\n".join(map(in_line, lines))) for lines in cells))
    return table


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _device(record: Record) -> str:
    if record.device.get("kind") == "browser":
        parts = (record.device.get(name) for name in ("model", "os", "browser"))
        return ", ".join(str(each) for each in parts if each) or "a browser that tells nothing"
    return str(record.device.get("model") or record.device.get("cpu") or record.device.get("os") or "unknown")


def _ran_by(record: Record) -> str:
    """Runtime and version, and the phone if it was one."""
    phone = f", {record.device['model']}" if record.device.get("kind") == "android" else ""
    return f"{record.runtime['name']} {record.runtime['version']}{phone}"


def _caption(comparison: Comparison) -> str:
    """What speaks against the student, the first device's choice with its reasons, and the others' in a line each."""
    choice, others, readiness = comparison.choice, comparison.devices[1:], comparison.readiness
    why = " ".join(choice.reasons)
    where = f" for {comparison.devices[0].name}" if others else ""
    take = f"Take {choice.file}{where}." if readiness.ready else f"The best file{where} would be {choice.file}."
    lines = [f"{comparison.images} validation photos. {readiness}".rstrip()]
    lines += [f"{take} {why}" if choice.file else why]
    lines += [f"For {each.name}: {each.choice.file or 'no file meets what was asked for'}." for each in others]
    lines += [gain_in_words(comparison.with_place)] if comparison.with_place else []
    return "\n".join(lines)
