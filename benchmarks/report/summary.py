"""The report in Markdown, for a README or a pull request: which file to take, why, and the table."""

from __future__ import annotations

from collections.abc import Sequence

from attar.benchmarks.report.columns import EMPTY, columns
from attar.benchmarks.report.comparison import Comparison, Device
from attar.benchmarks.units import megabytes, number, percent
from attar.export.card import plain
from attar.geo.combine import gain_in_words


def markdown(comparison: Comparison) -> str:
    """The whole text, ending with a newline."""
    choice = comparison.choice
    parts = [f"### {plain(headline(comparison))}"]
    if why := [*comparison.readiness.reasons, *comparison.readiness.remarks]:
        parts.append("\n".join(f"- {plain(each)}" for each in why))
    if len(comparison.devices) > 1:
        parts.append(_devices(comparison))
    where = f"{plain(comparison.devices[0].name)}: " if len(comparison.devices) > 1 else ""
    parts.append(
        "\n".join(f"- {where if number == 0 else ''}{plain(why)}" for number, why in enumerate(choice.reasons))
    )
    doubts = [f"{device.name}: {note}" for device in comparison.devices for note in device.notes]
    parts += [f"> {plain(doubt)}" for doubt in doubts]
    parts.append(markdown_table(comparison).rstrip())
    parts += [gain_in_words(comparison.with_place)] if comparison.with_place else []
    about = f"{plain(comparison.title)}, {comparison.images} validation photos of {comparison.classes} classes."
    parts.append(f"{about} Brackets: 95% intervals; “vs student” is paired, in points. Made by `attar report`.")
    return "\n\n".join(parts) + "\n"


def headline(comparison: Comparison) -> str:
    """The answer in one line."""
    if not comparison.readiness.ready:
        return "Do not ship yet"
    choices = [device.choice.file for device in comparison.devices] or [comparison.choice.file]
    if not any(choices):
        return "No file meets what was asked for" if str(comparison.needs) else "There is no file to ship"
    if len(set(choices) - {None}) > 1:
        return "Which file to ship depends on the device"
    if None in choices:
        [file] = set(choices) - {None}
        return f"Ship {file} on {len(choices) - choices.count(None)} of {len(choices)} devices"
    where = {1: "", 2: " on both devices"}.get(len(choices), f" on all {len(choices)} devices")
    return f"Ship {choices[0]}{where}"


def markdown_table(comparison: Comparison) -> str:
    """The main table in Markdown, ending with a newline; the file to take is bold."""
    wanted = columns(comparison)
    lines = [
        _line([plain(column.title) for column in wanted]),
        _line(["---:" if column.numeric else "---" for column in wanted]),
    ]
    chosen = {comparison.choice.target, *(device.choice.target for device in comparison.devices)}
    for row in comparison.rows:
        first, *cells = (column.cell(row) for column in wanted)
        name = f"**{first.main}**" if row.name in chosen and comparison.readiness.ready else first.main
        lines.append(_line([name, *map(str, cells)]))
    return "\n".join(lines) + "\n"


def _devices(comparison: Comparison) -> str:
    verb = "Ship" if comparison.readiness.ready else "Best file"
    lines = [_line(["Device", verb, "p50 ms", "Size", "Top-1"]), _line(["---", "---", "---:", "---:", "---:"])]
    lines += [_line(_device(comparison, device)) for device in comparison.devices]
    return "\n".join(lines)


def _device(comparison: Comparison, device: Device) -> list[str]:
    row, best = comparison.row(device.choice.target or ""), device.best(device.choice.target or "")
    if row is None:
        return [plain(device.name), "none meets what was asked for", EMPTY, EMPTY, EMPTY]
    p50 = number(best.latency.p50) if best else EMPTY
    return [plain(device.name), f"**{plain(row.about)}**", p50, megabytes(row.bytes), percent(row.top1.value)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") if "\\|" not in cell else cell for cell in cells) + " |"
