"""Where and when photos were taken: EXIF as cameras write it, damaged or odd, and tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from attar.data.photos import Photo
from attar.errors import InputError
from attar.geo.places import Place, as_arrays, has_places, place_at, place_in, read_places

GPS, BASE = ExifTags.GPS, ExifTags.Base


def write(path: Path, gps: dict[int, object], taken: str = "") -> Photo:
    """A photo with these facts in its EXIF."""
    exif = Image.Exif()
    exif[ExifTags.IFD.GPSInfo] = gps
    if taken:
        exif[ExifTags.IFD.Exif] = {BASE.DateTimeOriginal: taken}
    Image.new("RGB", (40, 30), "green").save(path, exif=exif)
    return Photo(path, -1)


def degrees(value: float) -> tuple[IFDRational, ...]:
    whole = int(value)
    minutes = int((value - whole) * 60)
    return IFDRational(whole), IFDRational(minutes), IFDRational(round(((value - whole) * 60 - minutes) * 60_000), 1000)


def gps(latitude: float, longitude: float) -> dict[int, object]:
    return {
        GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
        GPS.GPSLatitude: degrees(abs(latitude)),
        GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
        GPS.GPSLongitude: degrees(abs(longitude)),
    }


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize(
    ("latitude", "longitude"), [(48.137, 11.575), (-33.45, -70.667), (64.1, -21.9), (-17.7, 178.1)]
)
def test_a_camera_says_where_and_when(tmp_path: Path, suffix: str, latitude: float, longitude: float) -> None:
    place = place_in(write(tmp_path / f"a{suffix}", gps(latitude, longitude), "2024:05:31 12:00:00"))
    assert place is not None and place.day == 152
    assert (place.latitude, place.longitude) == pytest.approx((latitude, longitude), abs=1e-5)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {key: value for key, value in gps(48, 11).items() if key != GPS.GPSLatitudeRef},
        {**gps(48, 11), GPS.GPSLatitudeRef: "?"},
        {**gps(48, 11), GPS.GPSLatitude: degrees(91)},
        {**gps(48, 11), GPS.GPSLongitude: (IFDRational(1, 0), IFDRational(0), IFDRational(0))},
        {**gps(48, 11), GPS.GPSLatitude: (IFDRational(48),)},
        gps(0, 0),
    ],
    ids=["none", "no side", "odd side", "over the pole", "infinite", "degrees alone", "zero"],
)
def test_what_is_no_place_is_none(tmp_path: Path, facts: dict[int, object]) -> None:
    assert place_in(write(tmp_path / "a.jpg", facts, "2024:05:31 12:00:00")) is None


def test_damaged_exif_is_no_place_and_no_error(tmp_path: Path) -> None:
    photo = write(tmp_path / "a.jpg", gps(48, 11))
    content = bytearray(photo.path.read_bytes())
    start = content.index(b"Exif")
    for at in range(start + 8, start + 60):
        content[at] ^= 0xFF
    photo.path.write_bytes(content)
    assert place_in(photo) is None
    photo.path.write_bytes(b"no image")
    assert place_in(photo) is None


@pytest.mark.parametrize(
    ("taken", "stamp", "day"),
    [("2024:02:01 08:00:00", "", 32), ("0000:00:00 00:00:00", "2023:12:31", 365), ("", "", 0), ("31.5.2024", "", 0)],
)
def test_the_day_is_the_cameras_or_the_satellites_or_not_known(
    tmp_path: Path, taken: str, stamp: str, day: int
) -> None:
    facts = {**gps(48, 11), **({GPS.GPSDateStamp: stamp} if stamp else {})}
    place = place_in(write(tmp_path / "a.jpg", facts, taken))
    assert place is not None and place.day == day


def test_a_table_says_where_photos_were_taken(tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    table.write_text(
        "Path, label, Lat, decimalLongitude, observed_on\n"
        "a b.jpg, x, 48.5, 11.5, 2024-05-31\nsub/c.jpg, x, 1, 2,\nd.jpg, x, ,\ne.jpg, x, 0, 0,\n"
    )
    assert has_places(table)
    assert read_places(table) == {
        (tmp_path / "a b.jpg").resolve(): Place(48.5, 11.5, 152),
        (tmp_path / "sub" / "c.jpg").resolve(): Place(1, 2, 0),
    }
    known, where, days = as_arrays([None, Place(1, 2, 3)])
    assert (known.tolist(), where.tolist(), days.tolist()) == ([False, True], [[1, 2]], [3])
    assert [each.shape for each in as_arrays([None])] == [(1,), (0, 2), (0,)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,lat\na,1\n", "names no column of longitude"),
        ("photo,lat,lon\na,1,2\n", "names no column of path"),
        ("path,lat,lon\na,91,2\n", "line 2: latitude 91"),
        ("path,lat,lon\na,11,120\nb,120,11\n", "line 3.*look swapped"),
        ("path,lat,lon,date\na,1,2,31.5.2024\n", "line 2: the date"),
    ],
)
def test_a_wrong_table_is_told_by_its_line(tmp_path: Path, text: str, says: str) -> None:
    table = tmp_path / "photos.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=says):
        read_places(table)


def test_other_files_are_no_tables_of_places(tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_text("path,label\na,b\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    assert not any(has_places(tmp_path / name) for name in ("plain.csv", "binary.csv", "none.csv", "a.jpg"))
    with pytest.raises(InputError, match="no such file"):
        read_places(tmp_path / "none.csv")


@given(some.floats(-90, 90), some.floats(-180, 180))
def test_words_are_read_as_they_are_written(latitude: float, longitude: float) -> None:
    assert place_at(f"{latitude!r},{longitude!r}", "--at") == Place(latitude, longitude, 0)


@pytest.mark.parametrize("text", ["48", "48,11,2024-05-31,9", ",11", "a,b", "48,190"])
def test_words_that_are_no_place(text: str) -> None:
    with pytest.raises(InputError, match="--at X"):
        place_at(text, "--at X")
