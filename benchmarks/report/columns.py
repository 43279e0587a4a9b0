"""The columns of the main table, defined once for the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attar.benchmarks.report.comparison import Comparison, Device, Interval, Row
from attar.benchmarks.units import megabytes, number, percent, points

EMPTY = "\N{EM DASH}"
DEVICES = 4
"""Devices that have a column of their own; each has its own table besides."""


@dataclass(frozen=True)
class Cell:
    """A figure, and the smaller text beside it (its interval)."""

    main: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.main} {self.detail}".strip()


@dataclass(frozen=True)
class Column:
    """A heading, what it means, and how a row fills it."""

    title: str
    meaning: str
    cell: Callable[[Row], Cell]
    numeric: bool = True
    brief: bool = True
    """Whether a terminal of 80 characters has room for it."""


def columns(comparison: Comparison) -> list[Column]:
    """The columns that this comparison can fill."""
    rows = comparison.rows
    wanted = [
        (True, Column("Model", "teacher, student, or a file by target", lambda r: Cell(r.name, r.about), False)),
        (True, Column("Top-1", "share of photos given the right class, with its 95% interval", _top1)),
        (any(r.top5 for r in rows), Column("Top-5", "right class among the five most probable", _top5, brief=False)),
        *((True, _group(number, of, len(comparison.levels))) for number, of in enumerate(comparison.levels)),
        (True, Column("vs student", "top-1 minus the student's, points, paired 95% interval", _difference)),
        (
            any(r.agreement is not None for r in rows),
            Column("Agrees", "share of photos with the teacher's answer", lambda r: _share(r.agreement)),
        ),
        (
            True,
            Column(
                "ECE",
                "expected calibration error: gap between confidence and accuracy",
                lambda r: _share(r.ece),
                brief=False,
            ),
        ),
        (True, Column("Size", "weights of a model, the whole of a file", lambda r: Cell(megabytes(r.bytes)))),
    ]
    return [*(column for present, column in wanted if present), *_latencies(comparison.devices)]


def _latencies(devices: Sequence[Device]) -> list[Column]:
    """The median on each device; of a single one the higher percentiles as well."""
    if len(devices) == 1:
        [device] = devices
        return [
            Column("p50 ms", f"median latency on {device.name}, with its 95% interval", _median(device)),
            Column("p90 ms", "9 of 10 inferences take less", _latency(device, "p90"), brief=False),
            Column("p99 ms", "99 of 100 inferences take less", _latency(device, "p99"), brief=False),
        ]
    return [
        Column(
            f"p50 ms, {device.name}",
            "median latency there, by the fastest way, with its 95% interval",
            _median(device),
            brief=False,
        )
        for device in devices[:DEVICES]
    ]


def bracket(low: str, high: str) -> str:
    """An interval as text."""
    return f"[{low}, {high}]"


def _top1(row: Row) -> Cell:
    return _interval(row.top1)


def _top5(row: Row) -> Cell:
    return _interval(row.top5) if row.top5 else Cell(EMPTY)


def _group(number: int, groups: int, levels: int) -> Column:
    """One level of the labels' hierarchy."""
    title = "Group" if levels == 1 else f"Group {number + 1}"
    meaning = f"share of photos whose answer is in the right one of {groups:,} groups, with its 95% interval"
    return Column(title, meaning, lambda row: _interval(row.groups[number]) if row.groups else Cell(EMPTY), brief=False)


def _interval(share: Interval) -> Cell:
    return Cell(percent(share.value), bracket(f"{100 * share.low:.1f}", f"{100 * share.high:.1f}"))


def _difference(row: Row) -> Cell:
    if row.difference is None:
        return Cell(EMPTY)
    return Cell(points(row.difference.value), bracket(points(row.difference.low), points(row.difference.high)))


def _share(value: float | None) -> Cell:
    return Cell(EMPTY if value is None else percent(value))


def _latency(device: Device, name: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        timed = device.best(row.name)
        return Cell(number(getattr(timed.latency, name)) if timed else EMPTY)

    return cell


def _median(device: Device) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        timed = device.best(row.name)
        if timed is None:
            return Cell(EMPTY)
        low, high = timed.latency.interval
        return Cell(number(timed.latency.p50), bracket(number(low), "?" if high is None else number(high)))

    return cell
