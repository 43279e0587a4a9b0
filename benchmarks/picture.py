"""The pictures of a report: accuracy against latency, and confidence against accuracy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from attar.errors import InputError
from attar.extras import require
from attar.files import replacing
from benchmarks.comparison import Comparison, Row

FORMATS = {
    "litert": ("#2f7ed8", "o"),
    "onnx": ("#d9730d", "s"),
    "ort": ("#b0557f", "^"),
    "coreml": ("#2a9d6f", "D"),
    "executorch": ("#7a6bc4", "v"),
}
"""Colour and marker of each export format: told apart by shape as well, readable on white and on black."""

_INK, _FAINT = "#5b6470", "#9aa3ae"
# In a page the ink follows the page's own colours, so one picture serves light and dark.
_ON_PAGE = {_INK: "var(--ink-soft)", _FAINT: "var(--ink-faint)"}


def picture(comparison: Comparison, path: Path) -> Path:
    """Save accuracy against latency as .svg or .png; the background is transparent."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".svg", ".png"):
        raise InputError(f"{path}: a picture is saved as .svg or .png.")
    figure = _latency_figure(comparison)
    with replacing(Path(path)) as temporary:
        _save(figure, temporary, suffix[1:])
    return Path(path)


def latency_svg(comparison: Comparison) -> str | None:
    """Accuracy against latency for a page; None when nothing was measured."""
    return _inline(_latency_figure(comparison)) if any(row.latency for row in comparison.rows) else None


def reliability_svg(comparison: Comparison) -> str:
    """Confidence against accuracy of teacher, student and the chosen file, for a page."""
    names = ("teacher", "student", comparison.choice.target)
    rows = [row for name in names if name and (row := comparison.row(name))]
    figure, panels = _figure(3.0 * len(rows), 3.1, len(rows))
    for panel, row in zip(panels, rows):
        _reliability_panel(panel, row, comparison.images)
    panels[0].set_ylabel("share that is right")
    return _inline(figure)


def _latency_figure(comparison: Comparison) -> Any:
    figure, (axes,) = _figure(7.2, 4.2, 1)
    rows = [row for row in comparison.rows if row.latency]
    if not rows:
        axes.text(0.5, 0.5, "no latency was measured", ha="center", transform=axes.transAxes, color=_INK)
        return figure
    largest = max(row.bytes for row in rows)
    for row in rows:
        _marker(axes, row, largest)
    p50s = [row.latency.p50 for row in rows if row.latency]
    if max(p50s) > 20 * min(p50s):
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, max(p50s) * 1.25)
    _share_axis(axes, comparison)
    for kind, style in (("teacher", "-"), ("student", "--")):
        if model := comparison.row(kind):
            axes.axhline(100 * model.top1.value, color=_INK, linewidth=1.1, linestyle=style, zorder=1)
    _name_lines(axes, comparison)
    threads = rows[0].latency.threads if rows[0].latency else 1
    axes.set_xlabel(f"median latency of one inference, ms ({threads} thread{'s' if threads > 1 else ''})")
    axes.set_ylabel("top-1, %")
    figure.canvas.draw()
    _name_points(figure, axes, rows)
    return figure


def _share_axis(axes: Any, comparison: Comparison) -> None:
    """Top-1 from below the lowest line or interval to above the highest, without ticks over 100%."""
    from matplotlib.ticker import FuncFormatter

    shown = [100 * share for row in comparison.rows for share in (row.top1.low, row.top1.value, row.top1.high)]
    low, high = min(shown), max(shown)
    margin = 0.12 * max(high - low, 1.0)
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g}" if share <= 100 else ""))


def _marker(axes: Any, row: Row, largest: int) -> None:
    assert row.latency is not None
    colour, shape = _look(row)
    x, y = row.latency.p50, 100 * row.top1.value
    below, above = y - 100 * row.top1.low, 100 * row.top1.high - y
    axes.errorbar(x, y, yerr=[[below], [above]], color=colour, linewidth=1.2, capsize=0, alpha=0.55, zorder=2)
    # Area in proportion to the file's size; the smallest stays large enough to be seen.
    area = max(24, 420 * row.bytes / largest)
    axes.scatter([x], [y], s=area, color=colour, marker=shape, alpha=0.85, linewidth=0, zorder=3)


def _look(row: Row) -> tuple[str, str]:
    return FORMATS.get(row.name.partition(":")[0], (_INK, "o"))


def _name_lines(axes: Any, comparison: Comparison) -> None:
    """Write `teacher` and `student` at the right end of their lines, on the sides away from each other."""
    present = [row for kind in ("teacher", "student") if (row := comparison.row(kind))]
    highest = max(row.top1.value for row in present)
    for row in present:
        # Of two equal ones the teacher, which comes first, stands above the line.
        up = row.top1.value == highest and (row is present[0] or present[0].top1.value < highest)
        axes.annotate(
            f"{row.kind} {100 * row.top1.value:.1f}%", (1, 100 * row.top1.value), xycoords=("axes fraction", "data"),
            xytext=(-2, 4 if up else -4), textcoords="offset points", ha="right", va="bottom" if up else "top",
            color=_INK, fontsize=9,
        )  # fmt: skip


def _name_points(figure: Any, axes: Any, rows: list[Row]) -> None:
    """Name each point where the name covers no marker, line or other name: near first, then further out."""
    from matplotlib.text import Text  # an annotation's own extent would include its arrow

    renderer = figure.canvas.get_renderer()
    taken = [text.get_window_extent(renderer) for text in axes.texts]
    taken += [box for row in rows for box in _drawn(figure, axes, row)] + [
        _line(axes, line) for line in axes.lines if len(line.get_ydata()) == 2
    ]
    directions = [(1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0.3, 1.2), (0.3, -1.2)]
    offsets = [(14 * f * dx, 14 * f * dy) for f in (1, 1.6, 2.3, 3.2, 4.2, 5.4) for dx, dy in directions]
    for row in sorted(rows, key=lambda r: r.latency.p50 if r.latency else 0):
        for dx, dy in offsets:
            text = _name_point(axes, row, dx, dy)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)
            inside = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and axes.bbox.containsy(box.y0)
            if (inside and not any(box.overlaps(other) for other in taken)) or (dx, dy) == offsets[-1]:
                taken.append(box)
                break
            text.remove()


def _drawn(figure: Any, axes: Any, row: Row) -> list[Any]:
    """The marker of a row and its interval, as boxes in the picture's own pixels."""
    from matplotlib.transforms import Bbox

    assert row.latency is not None
    x, y = axes.transData.transform((row.latency.p50, 100 * row.top1.value))
    _, low = axes.transData.transform((row.latency.p50, 100 * row.top1.low))
    _, high = axes.transData.transform((row.latency.p50, 100 * row.top1.high))
    half = 9 * figure.dpi / 72
    return [Bbox.from_extents(x - half, y - half, x + half, y + half), Bbox.from_extents(x - 1, low, x + 1, high)]


def _line(axes: Any, line: Any) -> Any:
    """A horizontal line over the whole width, as a box in the picture's own pixels."""
    from matplotlib.transforms import Bbox

    y = axes.transData.transform((1, line.get_ydata()[0]))[1]
    return Bbox.from_extents(axes.bbox.x0, y - 1, axes.bbox.x1, y + 1)


def _name_point(axes: Any, row: Row, dx: float, dy: float) -> Any:
    assert row.latency is not None
    far = abs(dx) + abs(dy) > 30
    return axes.annotate(
        row.name, (row.latency.p50, 100 * row.top1.value), xytext=(dx, dy), textcoords="offset points",
        ha="left" if dx > 0 else "right", va="bottom" if dy > 0 else "top", fontsize=9, color=_look(row)[0],
        arrowprops={"arrowstyle": "-", "color": _FAINT, "linewidth": 0.6} if far else None,
    )  # fmt: skip


def _reliability_panel(axes: Any, row: Row, images: int) -> None:
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="--")
    x, y = [b.confidence for b in row.reliability], [b.accuracy for b in row.reliability]
    colour = _INK if row.kind != "file" else _look(row)[0]
    axes.plot(x, y, color=colour, linewidth=1, alpha=0.6)
    axes.scatter(x, y, s=[12 + 200 * b.images / images for b in row.reliability], color=colour, alpha=0.8, linewidth=0)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.05), xlabel="confidence", aspect="equal")
    axes.set_title(f"{row.name}: ECE {100 * row.ece:.1f}%", fontsize=10, color=_INK, loc="left")


def _figure(width: float, height: float, panels: int) -> tuple[Any, list[Any]]:
    require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panels, squeeze=False, sharey=True)[0])
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(_FAINT)
        one.tick_params(colors=_INK, labelsize=9)
        one.xaxis.label.set_color(_INK)
        one.yaxis.label.set_color(_INK)
        one.set_facecolor("none")
    return figure, axes


def _save(figure: Any, target: Any, format: str) -> None:
    from matplotlib import rc_context

    # Text stays text, and the same data give the same bytes: no dates, no random ids.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "attar", "font.family": ["sans-serif"]}):
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None} if format == "svg" else None
        figure.savefig(target, format=format, dpi=160, transparent=True, metadata=metadata)


def _inline(figure: Any) -> str:
    stream = io.StringIO()
    _save(figure, stream, "svg")
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, variable in _ON_PAGE.items():
        svg = svg.replace(colour, variable)
    return svg
