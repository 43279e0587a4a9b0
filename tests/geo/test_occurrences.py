"""Tables of observations, as people keep them and as iNaturalist and GBIF export them."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.errors import InputError
from attar.geo.occurrences import UNKNOWN_DAY, day_of, read_occurrences

INATURALIST = """id,observed_on,quality_grade,description,latitude,longitude,scientific_name,common_name
1,2023-05-01,research,"two, near
the river",48.137,11.575,Bellis perennis,Daisy
2,,needs_id,,-33.45,-70.66,Quillaja saponaria,Soapbark
3,2023-12-31,research,,,,Bellis perennis,Daisy
4,2023-06-01,casual,,10.0,20.0,,
"""
GBIF = (
    "gbifID\tspecies\tscientificName\tdecimalLatitude\tdecimalLongitude\teventDate\n"
    "7\tBellis perennis\tBellis perennis L.\t52.5\t13.4\t2021-04-03T12:30:00\n"
    '8\tQuillaja saponaria\t"Quillaja Molina\t-33.0\t-71.5\t2020-02\n'
    "9\tBellis perennis\tBellis perennis L.\t52.6\t13.5\t2021-04-03/2021-04-05\n"
    "10\tBellis perennis\tBellis perennis L.\t52.6\t13.5\t2021-04-03/2021-07-05\n"
    "11\tBellis perennis\tBellis perennis L.\t0.0\t0\t2021-04-03\n"
)


def table(tmp_path: Path, text: str, name: str = "seen.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_inaturalists_export(tmp_path: Path) -> None:
    seen = read_occurrences(table(tmp_path, INATURALIST))
    assert seen.labels == ("Bellis perennis", "Quillaja saponaria") and seen.label.tolist() == [0, 1]
    assert seen.places.tolist() == [[48.137, 11.575], [-33.45, -70.66]] and seen.days.tolist() == [121, UNKNOWN_DAY]
    assert seen.left_out == {"without a place": 1, "without a label": 1} and seen.counts.tolist() == [1, 1]


def test_gbifs_download(tmp_path: Path) -> None:
    """Its quotes mean themselves; dates may be months or intervals."""
    seen = read_occurrences(table(tmp_path, GBIF, "0001.tsv"))
    assert seen.labels == ("Bellis perennis", "Quillaja saponaria")
    assert seen.label.tolist() == [0, 1, 0, 0] and seen.days.tolist() == [93, UNKNOWN_DAY, 93, UNKNOWN_DAY]
    assert seen.left_out == {"at 0, 0, which stands for no place": 1}


def test_long_descriptions_are_no_obstacle_and_other_readers_keep_their_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    seen = read_occurrences(table(tmp_path, f'label,notes,lat,lon\na,"{"x" * 200_000}",1,2\n'))
    assert len(seen) == 1 and csv.field_size_limit() == before
    with pytest.raises(InputError, match="not readable as a table"):
        read_occurrences(table(tmp_path, f'label,notes,lat,lon\na,"{"x" * 2_000_000}",1,2\n'))
    assert csv.field_size_limit() == before


def test_our_own_columns_and_a_students_labels(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufefflabel;lat;lon;date\nb;1;2;2024-12-31\nc;3;4;\nunknown;5;6;\n")
    seen = read_occurrences(path, ["c", "b", "a"])
    assert seen.labels == ("c", "b", "a") and seen.label.tolist() == [1, 0] and seen.counts.tolist() == [1, 1, 0]
    assert seen.days.tolist() == [366, UNKNOWN_DAY]
    assert seen.left_out == {"of a label that the model does not have": 1}
    assert len(seen.taken(seen.label == 1)) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("label,lat,lon\na,91,5\n", r"line 2: latitude 91, longitude 5: .*between -90 and 90"),
        ("label,lat,lon\na,1,5\na,150,5\n", r"line 3: .*look swapped"),
        ("label,lat,lon\na,5,181\n", r"line 2: latitude 5, longitude 181"),
        ("label,lat,lon\na,nan,5\n", r"line 2: latitude nan"),
        ("label,lat,lon\na,48°N,11°E\n", r"line 2: .*48°N, 11°E.* is not in degrees with a decimal point"),
        ("label,lat,lon,date\na,1,2,03/04/2021\n", r"line 2: the date '03/04/2021' is not year-month-day"),
        ("label,lat,lon,date\na,1,2,3.4.2021\n", r"is not year-month-day"),
        ("label,lat,lon,date\na,1,2,2021-02-30\n", r"there is no date '2021-02-30'"),
        ("label,lat,lon,date\na,1,2,2021-13-01\n", r"there is no date '2021-13-01'"),
        ("label,lat\na,1\n", r"names no column of longitude; found: label, lat\..*longitude, lon, lng"),
        ("", r"names no column of label and latitude and longitude"),
        ("label,lat,lon\n", r"no observation is left \(it has none\)"),
        ("label,lat,lon\na,,\n,1,2\n", r"no observation is left \(1 without a place, 1 without a label\)"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(InputError, match=says) as error:
        read_occurrences(path)
    assert str(path) in str(error.value)


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_occurrences(tmp_path / "none.csv")
    (tmp_path / "photo.csv").write_bytes(b"label,lat,lon\n\xff\xd8\xff")
    with pytest.raises(InputError, match="not readable as a table in UTF-8"):
        read_occurrences(tmp_path / "photo.csv")
    with pytest.raises(InputError, match="not readable"):
        read_occurrences(tmp_path)


def test_labels_that_are_nearly_the_models_are_hinted_at(tmp_path: Path) -> None:
    path = table(tmp_path, "label,lat,lon\nBelis perennis,1,2\n")
    with pytest.raises(InputError, match=r"1 of a label that the model does not have\).*Bellis perennis"):
        read_occurrences(path, ["Bellis perennis", "Quercus robur"])


@given(st.dates(datetime.date(1800, 1, 1)), st.sampled_from(["{}", "{}T10:00Z", "{} 10:00:00 UTC", "{}/{}"]))
def test_everyday_of_is_the_calendars(day: datetime.date, form: str) -> None:
    assert day_of(form.format(day.isoformat(), day.isoformat()), "here") == int(day.strftime("%j"))


@given(st.text(max_size=30))
def test_any_other_text_is_aday_of_or_an_error(text: str) -> None:
    try:
        day = day_of(text.strip(), "here")
    except InputError as error:
        assert str(error).startswith("here: ")
    else:
        assert 0 <= day <= 366


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=20))
def test_places_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, places: list) -> None:
    places = [place for place in places if place != (0.0, 0.0)] or [(1.0, 2.0)]
    rows = "".join(f"x,{latitude!r},{longitude!r}\n" for latitude, longitude in places)
    seen = read_occurrences(table(tmp_path_factory.mktemp("seen"), "label,lat,lon\n" + rows))
    np.testing.assert_array_equal(seen.places, places)
