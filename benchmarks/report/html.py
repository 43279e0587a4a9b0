"""The report as a page: one file that opens offline. Style, pictures and photos are inside it.

Everything that comes from a user (class names, file names, messages) is escaped by the template. Photos are bounded in
bytes, flame charts in number, so that the page stays below five megabytes.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from attar.benchmarks.report.columns import EMPTY, columns
from attar.benchmarks.report.comparison import ClassRow, Comparison, Device, Example, Row, Timing
from attar.benchmarks.report.flame_chart import FlameChart, flame_chart_of
from attar.benchmarks.report.pareto import points_of
from attar.benchmarks.report.picture import latency_svgs, legend, reliability_svgs
from attar.benchmarks.report.summary import headline
from attar.benchmarks.units import estimate_ends, megabytes, milliseconds, number, percent, points, tenths
from attar.data.images import UnreadableImage, read_rgb
from attar.export.formats import FORMATS
from attar.extras import require
from attar.geo.combine import gain_in_words

THUMBNAIL = 144
"""Longer side of an example photo in the page, pixels."""
PHOTO_BYTES = 2_000_000
"""All photos together, as they stand in the page; those beyond are named only."""
FLAMES = 24
"""Flame charts in a page; the chosen files' come first."""
PANELS = 12
"""Pictures of devices in a page."""
LISTED = 30_000
"""Classes that the table of every class may have: some 60 bytes each."""
LAYERS = 12
"""Layers that are listed at once, the most sensitive first."""

_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Card:
    """A device, and the file to take on it, if there is one."""

    device: Device
    row: Row | None
    timing: Timing | None
    pictures: tuple[Any, Any] | None
    dominated: tuple[str, ...]


@dataclass(frozen=True)
class Flame:
    """Where one file's time goes on a device."""

    device: Device
    timing: Timing
    profile: FlameChart
    chosen: bool


def render(comparison: Comparison) -> str:
    """The whole page as text."""
    jinja2 = require("jinja2")
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(
        percent=percent,
        points=points,
        ms=milliseconds,
        size=megabytes,
        number=number,
        tenths=tenths,
        ends=estimate_ends,
        tiny=lambda value: number(value) if value >= 0.001 else "< 0.001",
    )
    # Pictures are drawn by matplotlib, which escapes text itself; nothing else enters the page unescaped.
    cards = [_card(comparison, device, index) for index, device in enumerate(comparison.devices)]
    wide, narrow = reliability_svgs(comparison)
    reference, file = (comparison.row(name) for name in comparison.compared)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        it=comparison,
        headline=headline(comparison),
        columns=columns(comparison),
        cards=cards,
        chosen={each.device.choice.target for each in cards} | {comparison.choice.target},
        top=comparison.row(comparison.choice.target or ""),
        student=comparison.row("student"),
        teacher=comparison.row("teacher"),
        legend=legend(comparison),
        reliability=(Markup(wide), Markup(narrow)),
        flames=_flames(comparison),
        photos=_Photos(),
        reference=reference,
        file=file,
        layers=LAYERS,
        empty=EMPTY,
        formats=FORMATS,
        listed=_listed(comparison),
        gained=gain_in_words(comparison.with_place) if comparison.with_place else "",
        integer=any("int8" in row.name or "w8a8" in row.name for row in comparison.rows),
    )


def _listed(comparison: Comparison) -> dict[str, Any] | None:
    """The table of every class for the page's script, as columns; None where there are too many classes for a page."""
    every = comparison.every_class
    if every is None or len(every.names) > LISTED:
        return None
    return {
        "names": every.names,
        "photos": every.photos,
        "right": [every.right[name] for name in comparison.compared],
        "taken_for": every.taken_for,
        "taken": every.taken,
    }


def _card(comparison: Comparison, device: Device, index: int) -> Card:
    from markupsafe import Markup

    target, pictures, points = device.choice.target or "", None, points_of(comparison, device)
    if index < PANELS and points:
        wide, narrow = latency_svgs(comparison, device, f"d{index}")
        pictures = (Markup(wide), Markup(narrow))
    beaten = tuple(point.row.name for point in points if not point.best)
    return Card(device, comparison.row(target), device.best(target), pictures, beaten)


def _flames(comparison: Comparison) -> list[list[Flame]]:
    """By device, the chosen file first."""
    flames = []
    for device in comparison.devices:
        own = [
            Flame(device, each, profile, each is device.best(device.choice.target or ""))
            for each in device.timings
            if each.operators and (profile := flame_chart_of(each.operators, each.latency.p50, each.profiled))
        ]
        if own:
            flames.append(sorted(own, key=lambda flame: (not flame.chosen, flame.timing.latency.p50)))
    kept = max(1, FLAMES // max(1, len(flames)))
    return [own[:kept] for own in flames[:FLAMES]]


class _Photos:
    """Thumbnails for a page, as data URIs, until they are too many bytes."""

    def __init__(self) -> None:
        self.left = PHOTO_BYTES

    def of(self, example: Example) -> str | None:
        """A photo; None when it is gone since the comparison, or there is no room."""
        thumbnail = _thumbnail(example)
        if thumbnail is None or len(thumbnail) > self.left:
            return None
        self.left -= len(thumbnail)
        return thumbnail

    @staticmethod
    def sides(change: ClassRow) -> list[tuple[bool, tuple[Example, ...], int]]:
        """Photos that the file lost, then those that it won: whether lost, the shown ones, how many there are."""
        return [(True, change.lost, change.lost_count), (False, change.won, change.won_count)]


def _thumbnail(example: Example) -> str | None:
    """The photo as a small JPEG data URI."""
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
    image.save(stream, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
