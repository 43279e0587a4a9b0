"""Where and when a photo was taken: what its camera wrote into it (EXIF), or a table of photos.

Nothing here leaves the machine.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from attar.data.images import open_image, open_photo
from attar.data.photos import DataSpec, Photo, in_threads, read_photos
from attar.errors import InputError
from attar.geo.occurrences import COLUMNS, UNKNOWN_DAY, Occurrences, day_of, place_of

LATITUDE, LONGITUDE = (ExifTags.GPS.GPSLatitude, "N", "S"), (ExifTags.GPS.GPSLongitude, "E", "W")
DATE = re.compile(r"[\0 ]*(\d{4})[:/-](\d{1,2})[:/-](\d{1,2})(?!\d)")
"""Its beginning is year, month and day. The phone's app reads EXIF by the same rules (deploy/app/page/exif.js)."""
DATES = ((ExifTags.IFD.Exif, ExifTags.Base.DateTimeOriginal), (ExifTags.IFD.GPSInfo, ExifTags.GPS.GPSDateStamp))


@dataclass(frozen=True)
class Place:
    """A place in degrees (WGS 84), and a day of the year, `UNKNOWN_DAY` where it is not known."""

    latitude: float
    longitude: float
    day: float = UNKNOWN_DAY


def place_at(text: str, where: str) -> Place:
    """`LAT,LON` or `LAT,LON,DATE`, such as `48.14,11.58,2024-05-31`; `where` is for messages.

    Raises:
        InputError: it is none of the two.
    """
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise InputError(f"{where}: is not LAT,LON or LAT,LON,DATE, such as 48.14,11.58,2024-05-31.")
    place = place_of(parts[0], parts[1], where)
    if place is None:
        raise InputError(f"{where}: has no place. Give LAT,LON or LAT,LON,DATE.")
    return Place(*place, day_of(parts[2] if parts[2:] else "", where))


def place_in(photo: Photo) -> Place | None:
    """What a photo's own EXIF says; None where it names no place, or EXIF is damaged."""
    # Pillow raises anything on damaged EXIF.
    with suppress(Exception), open_photo(photo.path, photo.part) as stream, open_image(stream) as image:
        exif = image.getexif()
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        place = place_of(_degrees(gps, *LATITUDE), _degrees(gps, *LONGITUDE), str(photo.shown))
        if place and place != (0.0, 0.0):
            return Place(*place, _day(exif))
    return None


class Finder:
    """Where photos were taken: as one was told, or as tables that list them say, or else as their EXIF does.

    Args:
        sources: what photos come from; those that are CSV files with columns of latitude and longitude are read.
        everywhere: the place of all photos, if that was told.

    Raises:
        InputError: of a table, as `read_places`.
    """

    def __init__(self, sources: Sequence[Path] = (), everywhere: Place | None = None) -> None:
        self._everywhere = everywhere
        self._listed: dict[Path, Place] = {}
        for table in sources if everywhere is None else ():
            if has_places(table):
                self._listed |= read_places(table)

    def places(self, photos: Sequence[Photo]) -> list[Place | None]:
        """Of each photo; None where nothing says it."""
        return list(in_threads(self._place, photos))

    def _place(self, photo: Photo) -> Place | None:
        return self._everywhere or self._listed.get(photo.path.resolve()) or place_in(photo)


def occurrences_in(source: Path | str, labels: Sequence[str] | None = None) -> Occurrences:
    """Labelled photos as observations, by where and when their cameras say that they were taken.

    Args:
        source: as `attar run --data` takes photos. Photos without a place are left out and counted, as are those of
            labels that are not among `labels`.
        labels: those of a student, in its order; None: the photos'.

    Raises:
        InputError: no photos, or none with a place.
    """
    photos = read_photos(DataSpec(str(source)))
    names = tuple(labels or photos.labels)
    number = {label: each for each, label in enumerate(names)}
    every = [*photos.train, *photos.val]
    known = [photo for photo in every if photos.labels[photo.label] in number]
    places = Finder().places(known)
    has_place, degrees, days = as_arrays(places)
    if not has_place.any():
        raise InputError(f"{source}: none of {len(every)} photos says where it was taken (EXIF). Give a table instead.")
    label = np.array([number[photos.labels[photo.label]] for photo, there in zip(known, has_place) if there], np.int64)
    left_out = {
        "photos of a label that the model does not have": len(every) - len(known),
        "photos without a place": int((~has_place).sum()),
    }
    return Occurrences(names, label, degrees, days, {why: count for why, count in left_out.items() if count})


def read_places(table: Path | str) -> dict[Path, Place]:
    """A CSV file with columns `path` (relative to it), `latitude`, `longitude` and, if known, `date`.

    Columns may be called as in tables of observations. Rows without a place are left out.

    Raises:
        InputError: no such file or columns; a place or a date that there is not.
    """
    table = Path(table)
    found: dict[Path, Place] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
            columns = {what: next((names[n] for n in COLUMNS[what] if n in names), None) for what in COLUMNS}
            missing = [what for what in ("latitude", "longitude") if columns[what] is None]
            if "path" not in names or missing:
                wanted = ["path"] if "path" not in names else missing
                raise InputError(f"{table}: the first line names no column of {' and '.join(wanted)}.")
            for row in reader:
                get = {what: (row.get(name) or "") if name else "" for what, name in columns.items()}
                where = f"{table}, line {reader.line_num}"
                place, path = place_of(get["latitude"], get["longitude"], where), (row[names["path"]] or "").strip()
                if path and place and place != (0.0, 0.0):
                    found[(table.parent / path).resolve()] = Place(*place, day_of(get["date"], where))
    except FileNotFoundError:
        raise InputError(f"{table}: no such file. Give a CSV of path, latitude, longitude and date.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not readable as a CSV file in UTF-8 ({error}).") from error
    return found


def has_places(table: Path) -> bool:
    """Whether a file is a CSV whose first line names columns of latitude and longitude."""
    if table.suffix.lower() != ".csv" or not table.is_file():
        return False
    with suppress(OSError, UnicodeDecodeError), table.open(encoding="utf-8-sig") as stream:
        names = {name.strip().lower() for name in stream.readline().split(",")}
        return all(names & set(COLUMNS[what]) for what in ("latitude", "longitude"))
    return False


def as_arrays(places: Sequence[Place | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which are known, bool (N,); of those, degrees float64 (n, 2) and days of the year float64 (n,)."""
    known = [each for each in places if each]
    degrees = np.array([[each.latitude, each.longitude] for each in known]).reshape(-1, 2)
    return np.array([bool(each) for each in places], bool), degrees, np.array([each.day for each in known])


def _degrees(gps: Mapping[int, Any], tag: int, plus: str, minus: str) -> str:
    """Degrees, minutes and seconds as one number, in text; empty where they are not there."""
    values, side = gps.get(tag), str(gps.get(tag - 1, "")).strip("\x00 ").upper()  # the reference stands before it
    if not isinstance(values, tuple) or side not in (plus, minus):  # bytes and texts are no numbers
        return ""
    whole, minutes, seconds = (float(value) for value in values)
    return repr((whole + minutes / 60 + seconds / 3600) * (1 if side == plus else -1))


def _day(exif: Image.Exif) -> float:
    """The day of the year on which a photo was taken, by the camera's clock or the satellites'."""
    for ifd, tag in DATES:
        with suppress(Exception):  # Pillow's; and InputError of a date that there is not
            if match := DATE.match(str(exif.get_ifd(ifd).get(tag, ""))):
                return day_of("-".join(match.groups()), "")
    return UNKNOWN_DAY
