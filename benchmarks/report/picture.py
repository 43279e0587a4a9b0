"""The pictures of a report: accuracy against latency on each device, and confidence against accuracy."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.benchmarks.report.comparison import Comparison, Device, Row
from attar.benchmarks.report.pareto import Point, points_of
from attar.benchmarks.units import megabytes, milliseconds, percent
from attar.errors import InputError
from attar.export.formats import FORMATS, Look
from attar.extras import require
from attar.files import write_bytes

PANELS = 6
"""Devices in one PNG or SVG file: with more it is too long to look at."""


@dataclass(frozen=True)
class Ink:
    """Colours: of text, of lines, of formats (a field of `Look`), and of what is behind (None: transparent)."""

    text: str
    faint: str
    formats: str
    paper: str | None = None

    def of(self, target: str) -> str:
        """The colour of a file."""
        format = target.partition(":")[0]
        return getattr(FORMATS[format].look, self.formats) if format in FORMATS else self.text


MIDDLE = Ink("#5b6470", "#9aa3ae", "on_either")
"""Readable on white and on black: for files that are shown on either."""
ON_WHITE = Ink("#333b45", "#8a939e", "on_white", "#ffffff")


def _on_page() -> dict[str, str]:
    """In a page the ink follows the page's own colours, so one picture serves light and dark."""
    formats = {form.look.on_either: f"var(--format-{name})" for name, form in FORMATS.items()}
    return {MIDDLE.text: "var(--ink-soft)", MIDDLE.faint: "var(--ink-faint)", **formats}


def _shape(target: str) -> str:
    """The shape of a file, so that formats are told apart without colour as well."""
    format = target.partition(":")[0]
    return FORMATS[format].look.marker if format in FORMATS else Look().marker


def picture(comparison: Comparison, path: Path) -> Path:
    """Save accuracy against latency, a panel for each device: .png on white, .svg with a transparent background."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".svg", ".png"):
        raise InputError(f"{path}: a picture is saved as .svg or .png.")
    write_bytes(Path(path), drawn(comparison, suffix[1:]))
    return Path(path)


def drawn(comparison: Comparison, format: str) -> bytes:
    """The content of such a file, `png` or `svg`."""
    stream = io.BytesIO()
    _save(_devices_figure(comparison, ON_WHITE if format == "png" else MIDDLE), stream, format)
    return stream.getvalue()


def latency_svgs(comparison: Comparison, device: Device, name: str) -> tuple[str, str]:
    """Accuracy against latency on a device for a page, wide and narrow; `name` makes ids unique in the page."""
    svgs = []
    for suffix, size in (("w", (7.2, 4.0)), ("n", (3.6, 3.6))):
        figure, (axes,) = _figure(*size, 1, 1, MIDDLE)
        _draw(figure, axes, comparison, device, MIDDLE, narrow=suffix == "n")
        svgs.append(_inline(figure, f"{name}{suffix}"))
    return svgs[0], svgs[1]


def reliability_svgs(comparison: Comparison) -> tuple[str, str]:
    """Confidence against accuracy of teacher, student and the chosen file, for a page: beside and below each other."""
    names = ("teacher", "student", comparison.choice.target)
    rows = [row for name in names if name and (row := comparison.row(name))]
    svgs = []
    for suffix, shape in (("w", (1, len(rows))), ("n", (len(rows), 1))):
        figure, panels = _figure(2.9 * shape[1] + 0.3, 3.0 * shape[0] + 0.1, *shape, MIDDLE)
        for number, (panel, row) in enumerate(zip(panels, rows)):
            _reliability_panel(panel, row, comparison.images)
            if number % shape[1] == 0:
                panel.set_ylabel("share that is right")
        svgs.append(_inline(figure, f"r{suffix}"))
    return svgs[0], svgs[1]


def legend(comparison: Comparison) -> str:
    """What the markers mean, of the formats that were timed."""
    timed = {each.target.partition(":")[0] for device in comparison.devices for each in device.timings}
    shapes = [f"{form.look.shape}: {form.title}" for name, form in FORMATS.items() if name in timed]
    text = "; ".join(shapes)
    return text[:1].upper() + text[1:]


def _devices_figure(comparison: Comparison, ink: Ink) -> Any:
    devices = [each for each in comparison.devices if points_of(comparison, each)][:PANELS]
    figure, panels = _figure(7.2, 4.2 * max(1, len(devices)), max(1, len(devices)), 1, ink)
    if not devices:
        panels[0].text(0.5, 0.5, "no latency was measured", ha="center", transform=panels[0].transAxes, color=ink.text)
        return figure
    for axes, device in zip(panels, devices):
        _draw(figure, axes, comparison, device, ink)
        if ink.paper or len(devices) > 1:
            axes.set_title(
                _plain(_title(comparison, device)), fontsize=10, color=ink.text, loc="left", pad=12, fontweight="bold"
            )
    if ink.paper:
        about = f"{legend(comparison)}. Area: size of the file. Bar: 95% interval of top-1."
        figure.supxlabel(
            f"{about} Hollow: another file is as good in all three.", fontsize=7.5, color=ink.text, x=0.01, ha="left"
        )
    return figure


def _title(comparison: Comparison, device: Device) -> str:
    row, best = comparison.row(device.choice.target or ""), device.best(device.choice.target or "")
    if not row or not best:
        return f"{device.name}: no file meets what was asked for"
    cost = f"{milliseconds(best.latency.p50)}, {megabytes(row.bytes)}, {percent(row.top1.value)}"
    verb = "take" if comparison.readiness.ready else "do not ship yet; the best file is"
    return f"{device.name}: {verb} {row.about}\n{cost}"


def _draw(figure: Any, axes: Any, comparison: Comparison, device: Device, ink: Ink, narrow: bool = False) -> None:
    """One device's files: latency to the right, top-1 up, size as area, the best ones joined and filled."""
    points = points_of(comparison, device)
    largest = max(point.row.bytes for point in points)
    for point in points:
        _marker(axes, point, largest, ink)
    p50s = [point.latency.p50 for point in points]
    if max(p50s) > 20 * min(p50s):
        _log(axes)
        axes.set_xlim(min(p50s) / 1.6, max(p50s) * (4 if narrow else 2.5))
    else:
        axes.set_xlim(0, max(p50s) * (1.45 if narrow else 1.25))
    _share_axis(axes, comparison, points)
    _join(axes, [point for point in points if point.best], ink)
    for kind, style in (("teacher", "-"), ("student", "--")):
        if model := comparison.row(kind):
            axes.axhline(100 * model.top1.value, color=ink.text, linewidth=1.1, linestyle=style, zorder=1)
    _limits(axes, comparison, max(p50s), ink)
    _name_lines(axes, comparison, points, ink)
    axes.set_xlabel("median latency, ms" if narrow else "median latency of one inference, ms")
    axes.set_ylabel("top-1, %")
    figure.canvas.draw()
    _name_points(figure, axes, points, ink)


def _log(axes: Any) -> None:
    """Latency by factors, its ticks in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _share_axis(axes: Any, comparison: Comparison, points: Sequence[Point]) -> None:
    """Top-1 from below the lowest line or interval to above the highest, without ticks over 100%."""
    from matplotlib.ticker import FuncFormatter

    drawn = [point.row for point in points]
    shown = [100 * share for row in drawn for share in (row.top1.low, row.top1.value, row.top1.high)]
    shown += [100 * row.top1.value for name in ("teacher", "student") if (row := comparison.row(name))]
    low, high = min(shown), max(shown)
    margin = 0.14 * max(high - low, 1.0)
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g}" if share <= 100 else ""))


def _marker(axes: Any, point: Point, largest: int, ink: Ink) -> None:
    colour, shape = ink.of(point.row.name), _shape(point.row.name)
    x, top1 = point.latency.p50, point.row.top1
    below, above = 100 * (top1.value - top1.low), 100 * (top1.high - top1.value)
    axes.errorbar(
        x, 100 * top1.value, yerr=[[below], [above]], color=colour, linewidth=1.2, capsize=0, alpha=0.5, zorder=2
    )
    # Area in proportion to the file's size; the smallest stays large enough to be seen.
    area = max(30, 400 * point.row.bytes / largest)
    fill = {"color": colour, "linewidth": 0} if point.best else {"facecolor": "none", "edgecolor": colour}
    axes.scatter([x], [100 * top1.value], s=area, marker=shape, alpha=0.9, zorder=3, **fill)
    if point.chosen:
        axes.scatter(
            [x],
            [100 * top1.value],
            s=area + 160,
            marker="o",
            facecolor="none",
            edgecolor=ink.text,
            linewidth=1.6,
            zorder=4,
        )


def _join(axes: Any, best: Sequence[Point], ink: Ink) -> None:
    """The least latency for at least so much accuracy."""
    if len(best) < 2:
        return
    highest, steps = -1.0, []
    for point in best:
        if point.row.top1.value > highest:
            highest = point.row.top1.value
            steps.append((point.latency.p50, 100 * highest))
    axes.step(*zip(*steps), where="post", color=ink.faint, linewidth=1, zorder=1.5)


def _limits(axes: Any, comparison: Comparison, slowest: float, ink: Ink) -> None:
    """What was asked for, where it lies in the picture."""
    needs = comparison.needs
    style = {"color": ink.text, "linewidth": 1, "linestyle": ":", "zorder": 1}
    if needs.max_ms and needs.max_ms < 3 * slowest:
        if axes.get_xscale() == "log":
            axes.set_xlim(left=min(axes.get_xlim()[0], needs.max_ms / 1.6))
        axes.axvline(needs.max_ms, **style)
        axes.set_xlim(right=max(axes.get_xlim()[1], 1.1 * needs.max_ms))
        axes.annotate(
            f"at most {milliseconds(needs.max_ms)}",
            (needs.max_ms, 0),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 5),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="bottom",
            color=ink.text,
            fontsize=8,
        )
    if needs.min_top1:
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 100 * needs.min_top1 - 0.1 * (high - low)), max(high, 100 * needs.min_top1 + 1))
        axes.axhline(100 * needs.min_top1, **style)
        axes.annotate(
            f"at least {percent(needs.min_top1)}",
            (0, 100 * needs.min_top1),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            va="bottom",
            color=ink.text,
            fontsize=8,
        )


def _name_lines(axes: Any, comparison: Comparison, points: Sequence[Point], ink: Ink) -> None:
    """Write `teacher` and `student` on their lines, above and below, at the end with more room."""
    ends = [axes.transAxes.inverted().transform(axes.transData.transform((p.latency.p50, 0)))[0] for p in points]
    left = min(ends) > 1 - max(ends)
    present = [row for kind in ("teacher", "student") if (row := comparison.row(kind))]
    highest = max(row.top1.value for row in present)
    for row in present:
        # Of two equal ones the teacher, which comes first, stands above the line.
        up = row.top1.value == highest and (row is present[0] or present[0].top1.value < highest)
        axes.annotate(
            f"{row.kind} {100 * row.top1.value:.1f}%",
            (0 if left else 1, 100 * row.top1.value),
            xycoords=("axes fraction", "data"),
            xytext=(4 if left else -2, 4 if up else -4),
            textcoords="offset points",
            ha="left" if left else "right",
            va="bottom" if up else "top",
            color=ink.text,
            fontsize=9,
        )


def _name_points(figure: Any, axes: Any, points: Sequence[Point], ink: Ink) -> None:
    """Name each point where the name covers no marker, line or other name: near first, then further out."""
    from matplotlib.text import Text  # an annotation's own extent would include its arrow

    renderer = figure.canvas.get_renderer()
    taken = [text.get_window_extent(renderer) for text in axes.texts]
    taken += [box for point in points for box in _drawn(figure, axes, point)] + [
        _line(axes, line)
        for line in axes.lines
        if len(line.get_ydata()) == 2 and line.get_transform() != axes.transData
    ]
    directions = [(1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0.3, 1.2), (0.3, -1.2)]
    offsets = [(14 * f * dx, 14 * f * dy) for f in (1, 1.6, 2.3, 3.2, 4.2, 5.4, 7, 9) for dx, dy in directions]
    for point in sorted(points, key=lambda each: (not each.chosen, not each.best)):
        for dx, dy in offsets:
            text = _name_point(axes, point, dx, dy, ink)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)
            inside = all(axes.bbox.containsx(x) for x in (box.x0, box.x1)) and axes.bbox.containsy(box.y0)
            if (inside and not any(box.overlaps(other) for other in taken)) or (dx, dy) == offsets[-1]:
                taken.append(box)
                break
            text.remove()


def _drawn(figure: Any, axes: Any, point: Point) -> list[Any]:
    """The marker of a file and its interval, as boxes in the picture's own pixels."""
    from matplotlib.transforms import Bbox

    top1, p50 = point.row.top1, point.latency.p50
    x, y = axes.transData.transform((p50, 100 * top1.value))
    _, low = axes.transData.transform((p50, 100 * top1.low))
    _, high = axes.transData.transform((p50, 100 * top1.high))
    half = 9 * figure.dpi / 72
    return [Bbox.from_extents(x - half, y - half, x + half, y + half), Bbox.from_extents(x - 1, low, x + 1, high)]


def _line(axes: Any, line: Any) -> Any:
    """A line across the whole picture, as a box in the picture's own pixels."""
    from matplotlib.transforms import Bbox

    if line.get_transform() == axes.get_xaxis_transform():
        x = axes.transData.transform((line.get_xdata()[0], 1))[0]
        return Bbox.from_extents(x - 1, axes.bbox.y0, x + 1, axes.bbox.y1)
    y = axes.transData.transform((1, line.get_ydata()[0]))[1]
    return Bbox.from_extents(axes.bbox.x0, y - 1, axes.bbox.x1, y + 1)


def _name_point(axes: Any, point: Point, dx: float, dy: float, ink: Ink) -> Any:
    far = abs(dx) + abs(dy) > 30
    return axes.annotate(
        _plain(point.row.name),
        (point.latency.p50, 100 * point.row.top1.value),
        xytext=(dx, dy),
        textcoords="offset points",
        ha="left" if dx > 0 else "right",
        va="bottom" if dy > 0 else "top",
        fontsize=9,
        color=ink.of(point.row.name),
        fontweight="bold" if point.chosen else "normal",
        arrowprops={"arrowstyle": "-", "color": ink.faint, "linewidth": 0.6} if far else None,
    )


def _reliability_panel(axes: Any, row: Row, images: int) -> None:
    axes.plot([0, 1], [0, 1], color=MIDDLE.faint, linewidth=1, linestyle="--")
    x, y = [b.confidence for b in row.reliability], [b.accuracy for b in row.reliability]
    colour = MIDDLE.text if row.kind != "file" else MIDDLE.of(row.name)
    axes.plot(x, y, color=colour, linewidth=1, alpha=0.6)
    axes.scatter(x, y, s=[12 + 200 * b.images / images for b in row.reliability], color=colour, alpha=0.8, linewidth=0)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.05), xlabel="confidence", aspect="equal")
    axes.set_title(f"{_plain(row.name)}: ECE {100 * row.ece:.1f}%", fontsize=10, color=MIDDLE.text, loc="left")


def _figure(width: float, height: float, down: int, across: int, ink: Ink) -> tuple[Any, list[Any]]:
    require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(down, across, squeeze=False, sharey=across > 1).ravel())
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(ink.faint)
        one.tick_params(colors=ink.text, labelsize=9)
        one.xaxis.label.set_color(ink.text)
        one.yaxis.label.set_color(ink.text)
        one.set_facecolor("none")
    if ink.paper:
        figure.set_facecolor(ink.paper)
    return figure, axes


def _plain(text: str) -> str:
    """Text that matplotlib does not take for mathematics, and without control characters."""
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text).replace("$", r"\$")


def _save(figure: Any, target: Any, format: str) -> None:
    from matplotlib import rc_context

    # Text stays text, and the same data give the same bytes: no dates, no random ids.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "attar", "font.family": ["sans-serif"]}):
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None} if format == "svg" else None
        figure.savefig(target, format=format, dpi=160, transparent=format == "svg", metadata=metadata)


def _inline(figure: Any, name: str) -> str:
    """An SVG inside a page: its colours are the page's, and its ids are its own."""
    stream = io.BytesIO()
    _save(figure, stream, "svg")
    svg = stream.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg)
    for colour, variable in _on_page().items():
        svg = svg.replace(colour, variable)
    return svg
