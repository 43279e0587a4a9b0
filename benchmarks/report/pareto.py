"""Which files of a device no other beats at once in accuracy, latency and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attar.benchmarks.report.comparison import Comparison, Device, Latency, Row


@dataclass(frozen=True)
class Point:
    """A file on a device, by its fastest way there.

    Attributes:
        row: its accuracy and size.
        latency: on that device.
        chosen: whether it is the one to take.
        best: no other file is at least as good in accuracy, latency and size, and better in one of them.
    """

    row: Row
    latency: Latency
    chosen: bool
    best: bool


def points_of(comparison: Comparison, device: Device) -> list[Point]:
    """The files that ran there, the fastest first."""
    timed = [(row, best.latency) for row in comparison.rows if (best := device.best(row.name))]
    costs = [(latency.p50, row.bytes, -row.top1.value) for row, latency in timed]
    points = [
        Point(row, latency, row.name == device.choice.target, not any(_beats(other, cost) for other in costs))
        for (row, latency), cost in zip(timed, costs)
    ]
    return sorted(points, key=lambda point: point.latency.p50)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(mine <= its for mine, its in zip(one, other))
