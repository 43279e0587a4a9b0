"""Observations as Darwin Core occurrences: the table that GBIF, iNaturalist and museums exchange.

Terms are those of the Darwin Core quick reference guide (https://dwc.tdwg.org/terms/). Contributors' names are left
out, because anyone reads a published table; whoever has their consent can fill `recordedBy` from `metadata.csv`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator

from attar.data.observations import PLACES, Place, Review, Row

TERMS = (
    "occurrenceID",
    "basisOfRecord",
    "occurrenceStatus",
    "scientificName",
    "eventDate",
    "decimalLatitude",
    "decimalLongitude",
    "geodeticDatum",
    "coordinateUncertaintyInMeters",
    "coordinatePrecision",
    "dataGeneralizations",
    "identificationVerificationStatus",
    "identificationRemarks",
    "associatedMedia",
)
_METRES = 40_007_863 / 360
"""Length of a degree of latitude on the WGS84 ellipsoid, in the mean; of longitude at the equator it is no longer by
more than 0.2%."""


def write_occurrences(rows: Iterable[Row]) -> Iterator[str]:
    """`occurrence.csv`, line by line: the header, then one line per observation that has a label."""
    yield _line(TERMS)
    for row in rows:
        if row.label:
            values = _values(row)
            yield _line(values.get(term, "") for term in TERMS)


def _values(row: Row) -> dict[str, object]:
    each = row.observation
    return {
        "occurrenceID": each.id.urn,
        "basisOfRecord": "HumanObservation",
        "occurrenceStatus": "present",
        "scientificName": row.label,
        "eventDate": each.time.isoformat().replace("+00:00", "Z"),
        **(_where(each.place) if each.place else {}),
        "identificationVerificationStatus": "unverified" if row.review is Review.NONE else "verified",
        "identificationRemarks": f"suggested by a model: {each.predicted} ({each.probability:.3f})",
        "associatedMedia": row.file_name,
    }


def _where(place: Place) -> dict[str, object]:
    step = 10.0**-PLACES
    # Half a step each way: the farthest corner of the rounded cell.
    north, east = step / 2 * _METRES, step / 2 * _METRES * math.cos(math.radians(abs(place.latitude) - step / 2))
    return {
        "decimalLatitude": f"{place.latitude:.{PLACES}f}",
        "decimalLongitude": f"{place.longitude:.{PLACES}f}",
        "geodeticDatum": "EPSG:4326",
        "coordinateUncertaintyInMeters": math.ceil(1.01 * math.hypot(north, east)),
        "coordinatePrecision": step,
        "dataGeneralizations": f"Coordinates are rounded to {step} degrees.",
    }


def _line(values: Iterable[object]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(values)
    return stream.getvalue()
