"""Where and when labels were met: a table of observations, as people keep them and as large collections export them.

A row needs a label, a latitude and a longitude in degrees (WGS 84), and may have a date. Columns are known by the names
of attar's own tables, of iNaturalist's export (https://www.inaturalist.org/observations/export) and of GBIF's simple
download, whose terms are Darwin Core's (https://dwc.tdwg.org/terms/). Columns that are not needed are not read.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TextIO

import numpy as np

from attar.errors import InputError, did_you_mean, in_line

COLUMNS: dict[str, tuple[str, ...]] = {
    "label": ("label", "species", "scientific_name", "scientificname", "taxon_name", "name"),
    "latitude": ("latitude", "lat", "decimallatitude"),
    "longitude": ("longitude", "lon", "lng", "long", "decimallongitude"),
    "date": ("date", "observed_on", "eventdate", "day"),
}
"""What a row holds -> the names that its column may have, the first one that is there counts."""
NEEDED = ("label", "latitude", "longitude")
UNKNOWN_DAY = 0.0
"""In place of the day of year where a row has no date, or only its year or month."""
LONGEST_FIELD = 1 << 20
"""Characters of a field: descriptions in such tables are long."""

_ISO = re.compile(r"(\d{4})(?:[-/](\d{1,2})(?:[-/](\d{1,2}))?)?(?:[T ].*)?")


@dataclass(frozen=True)
class Occurrences:
    """Observations as arrays.

    Attributes:
        labels: names of the labels, each with a number.
        label: of each observation, int64 (N,).
        places: latitude and longitude, degrees, float64 (N, 2).
        days: days of the year from 1 to 366, `UNKNOWN_DAY` where there is none, float64 (N,).
        left_out: why rows were left out -> how many.
    """

    labels: tuple[str, ...]
    label: np.ndarray
    places: np.ndarray
    days: np.ndarray
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def counts(self) -> np.ndarray:
        """Observations of each label, int64 (labels,)."""
        return np.bincount(self.label, minlength=len(self.labels))

    def taken(self, rows: np.ndarray) -> Occurrences:
        """Some of them, by number or as booleans."""
        return Occurrences(self.labels, self.label[rows], self.places[rows], self.days[rows], self.left_out)


def read_occurrences(path: Path | str, labels: Sequence[str] | None = None) -> Occurrences:
    """Read a table, comma- or tab-separated, UTF-8, its first line naming the columns.

    Rows without a label or a place are left out and counted, as are places of exactly 0, 0, which stand for a missing
    one, and rows of labels that are not among `labels`.

    Args:
        path: of the table.
        labels: those of a student, in its order; None: those of the table, in alphabetical order.

    Raises:
        InputError: no such file or columns; a latitude or longitude that there is not; a date that can be read in two
            ways; no row that is left.
    """
    path = Path(path)
    known = None if labels is None else {name: number for number, name in enumerate(labels)}
    names: list[str] = []
    places: list[tuple[float, float]] = []
    days: list[float] = []
    left_out: Counter[str] = Counter()
    other = ""
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        name, place = row["label"].strip(), place_of(row["latitude"], row["longitude"], where)
        if not name or place is None:
            left_out["without a label" if not name else "without a place"] += 1
        elif known is not None and name not in known:
            other = other or name
            left_out["of a label that the model does not have"] += 1
        elif place == (0.0, 0.0):
            left_out["at 0, 0, which stands for no place"] += 1
        else:
            names.append(name)
            places.append(place)
            days.append(day_of(row["date"], where))
    if not names:
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "it has none"
        hint = did_you_mean(other, labels) if other and labels else ""
        raise InputError(f"{path}: no observation is left ({reasons}).{hint}")
    numbers = known or {name: number for number, name in enumerate(sorted(set(names)))}
    label = np.array([numbers[name] for name in names], np.int64)
    return Occurrences(tuple(numbers), label, np.array(places), np.array(days), dict(left_out))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with the number of its line; empty strings for what it does not have."""
    before = csv.field_size_limit(LONGEST_FIELD)  # of all readers in this process
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader, found = _opened(stream, path)
            for cells in reader:
                if cells:
                    get = dict(enumerate(cells)).get
                    yield reader.line_num, {what: get(found.get(what, -1), "") for what in COLUMNS}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Give a table of label, latitude, longitude and date.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a table in UTF-8 ({error}).") from error
    finally:
        csv.field_size_limit(before)


def _opened(stream: TextIO, path: Path) -> tuple[csv._reader, dict[str, int]]:  # type: ignore[name-defined]
    """A reader after the first line, and the place of each column that there is."""
    first = stream.readline()
    tabs = "\t" in first  # GBIF's: tab-separated, and quotes mean themselves
    how = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"delimiter": ";" if _semicolons(first) else ","}
    head = [name.strip().lower() for name in next(csv.reader([first], **how), [])]
    found = {what: head.index(name) for what, names in COLUMNS.items() for name in reversed(names) if name in head}
    missing = [what for what in NEEDED if what not in found]
    if missing:
        names = "; ".join(f"{what}: {', '.join(COLUMNS[what])}" for what in missing)
        raise InputError(
            f"{path}: the first line names no column of {' and '.join(missing)}; found: "
            f"{in_line(', '.join(head)[:200])}. A column may be called {names}."
        )
    reader = csv.reader(stream, **how)
    return _Lines(reader), found


def _semicolons(first: str) -> bool:
    return first.count(";") > first.count(",")


class _Lines:
    """A reader whose line numbers count the first line too."""

    def __init__(self, reader: csv._reader) -> None:  # type: ignore[name-defined]
        self._reader = reader

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self._reader)

    @property
    def line_num(self) -> int:
        return int(self._reader.line_num) + 1


def place_of(latitude: str, longitude: str, where: str) -> tuple[float, float] | None:
    """Latitude and longitude in degrees as numbers; None where one is missing. `where` is for messages."""
    texts = [latitude.strip(), longitude.strip()]
    if not all(texts):
        return None
    try:
        north, east = (float(text) for text in texts)
    except ValueError:
        raise InputError(
            f"{where}: the place {in_line(', '.join(texts))} is not in degrees with a decimal point, such as "
            "48.14, 11.58."
        ) from None
    if not (-90 <= north <= 90 and -180 <= east <= 180):
        swapped = " Latitude and longitude look swapped." if abs(east) <= 90 < abs(north) <= 180 else ""
        raise InputError(
            f"{where}: latitude {north:g}, longitude {east:g}: a latitude is between -90 and 90, a longitude "
            f"between -180 and 180.{swapped}"
        )
    return north, east


def day_of(text: str, where: str) -> float:
    """The day of the year of a date, from 1 on; `UNKNOWN_DAY` of none, or of a year or month alone.

    Of an interval (ISO 8601, as Darwin Core's `eventDate` has) the first day, if both ends are in one month.
    """
    text = text.strip()
    if not text:
        return UNKNOWN_DAY
    first, _, last = text.partition("/") if text.count("/") == 1 else (text, "", "")
    match, end = _ISO.fullmatch(first), _ISO.fullmatch(last) if last else None
    if not match or (last and not end and not last.isdigit()):
        raise InputError(
            f"{where}: the date {in_line(text)!r} is not year-month-day, such as 2024-05-31. Other orders can be read "
            "in two ways; write the column anew."
        )
    year, month, day = match.groups()
    if end and end.groups()[:2] != (year, month):
        return UNKNOWN_DAY
    if day is None:
        return UNKNOWN_DAY
    try:
        return float(date(int(year), int(month), int(day)).timetuple().tm_yday)
    except ValueError as error:
        raise InputError(f"{where}: there is no date {in_line(text)!r} ({error}).") from None
