"""Small charts of weeks, as numbers for the page's template: points of lines and bands in a picture of fixed size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attar.benchmarks.units import number, percent
from attar.deploy.drift.clustered import Share
from attar.deploy.drift.report import OfVersion
from attar.deploy.drift.weeks import Spread, Week

WIDTH, HEIGHT = 320, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 26


@dataclass(frozen=True)
class Mark:
    """A week of a chart: where its value lies, and whether it drifted. The text is for who hovers."""

    x: float
    y: float
    drifted: bool
    text: str


@dataclass(frozen=True)
class Chart:
    """A quantity by week.

    Attributes:
        title: what is drawn.
        about: all of it in words, for who does not see it.
        line: points of an SVG polyline.
        bands: points of an SVG polygon each, of what lies between the ends.
        marks: the weeks.
        ticks: (y, text) of the scale.
        weeks: (x, text, anchor) below it.
        reference: (x, width) of the reference weeks.
    """

    title: str
    about: str
    line: str
    bands: tuple[str, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    weeks: tuple[tuple[float, str, str], ...]
    reference: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Value:
    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class _Kind:
    title: str
    quantity: str
    value: Callable[[Week], _Value | None]
    text: Callable[[float], str]
    top: float | None


def _of_spread(spread: Spread | None) -> _Value | None:
    return _Value(spread.q50, spread.q10, spread.q90) if spread else None


def _of_share(share: Share) -> _Value:
    return _Value(share.value, share.value if share.low is None else share.low, share.high or share.value)


_KINDS = (
    _Kind("Confidence: median, 10% to 90%", "confidence", lambda week: _of_spread(week.confidence), percent, 1.0),
    _Kind(
        "Confirmed: share, 95% interval", "verdicts", lambda week: _of_share(week.verdicts["confirmed"]), percent, 1.0
    ),
    _Kind("Latency, ms: median, 10% to 90%", "latency", lambda week: _of_spread(week.latency), number, None),
    _Kind("Familiarity: median, 10% to 90%", "familiarity", lambda week: _of_spread(week.familiarity), percent, 1.0),
    _Kind("Brightness: median, 10% to 90%", "brightness", lambda week: _of_spread(week.brightness), number, 255.0),
    _Kind("Sharpness: median, 10% to 90%", "sharpness", lambda week: _of_spread(week.sharpness), number, None),
)


def charts_of(version: OfVersion, drifted: set[tuple[str, str]]) -> list[Chart]:
    """The charts of a version that have something to show.

    Args:
        version: which.
        drifted: (week, quantity) of the tests that found drift.
    """
    charts = []
    for kind in _KINDS:
        values = [kind.value(week) for week in version.weeks]
        if any(values):
            charts.append(_chart(kind, version, values, drifted))
    return charts


def _tick(value: float, kind: _Kind) -> str:
    if kind.text is percent:
        return f"{100 * value:.0f}%"
    return number(value) if value else "0"


def _chart(kind: _Kind, version: OfVersion, values: Sequence[_Value | None], drifted: set[tuple[str, str]]) -> Chart:
    names = [week.week for week in version.weeks]
    top = kind.top or max(value.high for value in values if value) or 1.0
    step = (WIDTH - _LEFT - _RIGHT) / len(names)

    def x(number: int) -> float:
        return round(_LEFT + step * (number + 0.5), 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / top, 1)

    there = [(number, value) for number, value in enumerate(values) if value]
    marks = [
        Mark(
            x(number),
            y(value.middle),
            (names[number], kind.quantity) in drifted,
            f"{names[number]}: {kind.text(value.middle)} [{kind.text(value.low)}, {kind.text(value.high)}]",
        )
        for number, value in there
    ]
    upper = [f"{x(number)},{y(value.high)}" for number, value in there]
    lower = [f"{x(number)},{y(value.low)}" for number, value in reversed(there)]
    first, last = f"{names[0][5:]}", f"{names[-1][5:]}"
    ends = ((x(0), first, "start" if len(names) > 1 else "middle"), (x(len(names) - 1), last, "end"))
    return Chart(
        kind.title,
        f"{kind.title}. " + "; ".join(mark.text + (", drift" if mark.drifted else "") for mark in marks),
        " ".join(f"{mark.x},{mark.y}" for mark in marks),
        (" ".join(upper + lower),) if len(there) > 1 else (),
        tuple(marks),
        tuple((y(part * top), _tick(part * top, kind)) for part in (0, 0.5, 1)),
        ends if len(names) > 1 else ends[:1],
        tuple(
            (round(x(number) - step / 2, 1), round(step, 1))
            for number, name in enumerate(names)
            if name in version.reference
        ),
    )
