"""The place and day in photos' EXIF: the page reads what Python reads, however it is written or damaged."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attar.data.photos import Photo
from attar.deploy.app import site as sites
from attar.geo.combine import Combination
from attar.geo.files import WEIGHTS
from attar.geo.located import open_located
from attar.geo.places import Place, place_in
from attar.geo.snippets import JAVASCRIPT
from helpers.priors import random_prior

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged EXIF

ASCII, SHORT, LONG, RATIONAL, SRATIONAL, DOUBLE, BYTE, LONG8 = 2, 3, 4, 5, 10, 12, 1, 16
SIZES = {ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, SRATIONAL: 8, DOUBLE: 8, BYTE: 1, LONG8: 8}
CODES = {SHORT: "H", LONG: "I", DOUBLE: "d", LONG8: "Q"}
CAMERA, GPS, TAKEN, STAMP = 0x8769, 0x8825, 0x9003, 29
EXIF = b"Exif\0\0"

Values = dict[int, tuple[int, Any]]
"""Tag -> type, and bytes, numbers or pairs of them."""

SCRIPT = """
import { readFileSync } from "node:fs";
import { placeIn } from "./exif.js";
import { openGeo } from "./geo_prior.js";
const { paths, geo } = JSON.parse(readFileSync(0));
const prior = geo && openGeo(geo.about, new Uint8Array(readFileSync(geo.weights)));
const answers = [];
for (const [number, path] of paths.entries()) {
  const place = await placeIn(new Blob([readFileSync(path)]));
  answers.push({ place, joined: prior && Array.from(prior.joined(geo.rows[number], place, place?.day)) });
}
console.log(JSON.stringify(answers));
"""

Page = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """The page's own modules, in node -> of each file its place, and the answer that takes it in."""
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    folder = tmp_path / "page"
    folder.mkdir()
    for path in sites.PAGE.glob("*.js"):
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(JAVASCRIPT, folder / "geo_prior.js")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run.js").write_text(SCRIPT)

    def ask(paths: Sequence[Path], geo: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        given = json.dumps({"paths": list(map(str, paths)), "geo": geo})
        done = subprocess.run(["node", "run.js"], cwd=folder, input=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def directory(values: Values, start: int, order: str) -> bytes:
    """A directory of TIFF that lies at `start`, and behind it what its values point to."""
    entries, more = b"", b""
    behind = start + 2 + 12 * len(values) + 4
    for tag, (kind, value) in values.items():
        if kind in (ASCII, BYTE):
            content = bytes(value)
        elif kind in CODES:
            content = struct.pack(f"{order}{len(value)}{CODES[kind]}", *value)
        else:
            code = "I" if kind == RATIONAL else "i"
            content = struct.pack(f"{order}{2 * len(value)}{code}", *(part for pair in value for part in pair))
        entries += struct.pack(f"{order}HHI", tag, kind, len(content) // SIZES[kind])
        if len(content) <= 4:
            entries += content.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", behind + len(more))
            more += content + b"\0" * (len(content) % 2)
    return struct.pack(f"{order}H", len(values)) + entries + bytes(4) + more


def exif(gps: Values | None, camera: Values | None = None, order: str = "<") -> bytes:
    """EXIF with these two directories."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    given = {tag: values for tag, values in ((CAMERA, camera), (GPS, gps)) if values is not None}
    start = 8 + 2 + 12 * len(given) + 4
    pointers, content = {}, b""
    for tag, values in given.items():
        pointers[tag] = (LONG, [start + len(content)])
        content += directory(values, start + len(content), order)
    return EXIF + head + directory(pointers, 8, order) + content


def rationals(value: float) -> list[tuple[int, int]]:
    """Degrees, minutes and thousandths of seconds."""
    minutes, seconds = divmod(round(value * 3_600_000), 60_000)
    return [(minutes // 60, 1), (minutes % 60, 1), (seconds, 1000)]


def gps(latitude: float, longitude: float, **more: Any) -> Values:
    sides = {1: b"N\0" if latitude >= 0 else b"S\0", 3: b"E\0" if longitude >= 0 else b"W\0"}
    values = {2: rationals(abs(latitude)), 4: rationals(abs(longitude))}
    return {tag: (RATIONAL, values[tag]) if tag in values else (ASCII, sides[tag]) for tag in (1, 2, 3, 4)} | more.get(
        "other", {}
    )


def taken(text: bytes) -> Values:
    return {TAKEN: (ASCII, text)}


def photo(suffix: str, content: bytes) -> bytes:
    """A small photo with this EXIF."""
    stream = BytesIO()
    Image.new("RGB", (8, 8), "green").save(stream, {"jpg": "JPEG"}.get(suffix, suffix.upper()), exif=content)
    return stream.getvalue()


def in_segments(*contents: bytes) -> bytes:
    """A JPEG file with one segment of each, among others."""
    whole = photo("jpg", b"")
    own = b"".join(b"\xff\xe1" + struct.pack(">H", len(each) + 2) + each for each in contents)
    return whole[:2] + b"\xff\xfe\x00\x07hello" + own + b"\xff\xff" + whole[2:]


WHERE = [(48.137, 11.575), (-33.45, -70.667), (64.1, -21.9), (-17.7, 178.1)]
DAY = taken(b"2024:05:31 12:00:00\0")


def sound() -> Iterator[tuple[str, bytes, Place]]:
    """Photos whose place and date are plain."""
    for latitude, longitude in WHERE:
        for order in "<>":
            for suffix in ("jpg", "png", "webp"):
                content = photo(suffix, exif(gps(latitude, longitude), DAY, order))
                yield f"{latitude} {longitude} {order}.{suffix}", content, Place(latitude, longitude, 152)


def odd() -> Iterator[tuple[str, bytes]]:
    """Photos of which it is not plain what Python makes of them."""

    def jpeg(name: str, values: Values | None, camera: Values | None = None) -> tuple[str, bytes]:
        return f"{name}.jpg", photo("jpg", exif(values, camera))

    def changed(tag: int, kind: int, value: Any) -> Values:
        return gps(48.1, 11.6) | {tag: (kind, value)}

    yield jpeg("no gps", None, DAY)
    yield jpeg("nothing", {}, {})
    yield jpeg("zero", gps(0, 0), DAY)
    yield jpeg("no date", gps(48.1, 11.6))
    for tag in (1, 2, 3, 4):
        yield jpeg(f"without {tag}", {each: value for each, value in gps(48.1, 11.6).items() if each != tag}, DAY)
    for name, side in {
        "lower": b"s\0",
        "padded": b" S \0\0",
        "long": b"South\0",
        "none": b"\0\0",
        "odd": b"X\0",
    }.items():
        yield jpeg(f"side {name}", changed(1, ASCII, side), DAY)
    yield jpeg("side of bytes", changed(1, BYTE, b"S"), DAY)
    for name, value in {
        "over the pole": [(91, 1), (0, 1), (0, 1)],
        "at the pole": [(90, 1), (0, 1), (0, 1)],
        "just over": [(90, 1), (0, 1), (1, 4_000_000_000)],
        "infinite": [(1, 0), (0, 1), (0, 1)],
        "nothing of nothing": [(48, 1), (0, 0), (0, 1)],
        "fractions": [(481_234_567, 10_000_000), (0, 1), (0, 1)],
        "minutes": [(48, 1), (59_999, 1000), (0, 1)],
        "degrees alone": [(48, 1)],
        "two": [(48, 1), (30, 1)],
        "four": [(48, 1), (30, 1), (0, 1), (0, 1)],
        "largest": [(4_294_967_295, 89_478_485), (4_294_967_295, 4_294_967_295), (1, 4_294_967_295)],
    }.items():
        yield jpeg(name, changed(2, RATIONAL, value), DAY)
    yield jpeg("signed", changed(2, SRATIONAL, [(48, 1), (-30, 1), (0, 1)]), DAY)
    yield jpeg("negative", changed(2, SRATIONAL, [(-48, 1), (0, 1), (0, 1)]), DAY)
    yield jpeg("whole", changed(2, SHORT, [48, 7, 9]), DAY)
    yield jpeg("huge", changed(2, LONG8, [2**64 - 1, 7, 9]), DAY)
    yield jpeg("doubles", changed(2, DOUBLE, [48.25, 0.5, 1e-3]), DAY)
    yield jpeg("no number", changed(2, DOUBLE, [float("nan"), 0.5, 1e-3]), DAY)
    yield jpeg("text", changed(2, ASCII, b"48\0"), DAY)
    yield jpeg("bytes", changed(2, BYTE, bytes([48, 8, 7])), DAY)
    dates = [b"2023:12:31 23:59:59\0", b"2024:12:31\0", b"2024:02:30 00:00:00\0", b"2023:02:29 00:00:00\0"]
    dates += [b"0000:00:00 00:00:00\0", b"0001:01:01\0", b"    :  :     :  :  \0", b"31.05.2024\0", b"2024:5:3 1:00\0"]
    dates += [
        b" 2024-05-31T10:00:00Z\0",
        b"2024/05/31\0",
        b"2024:05:311\0",
        b"2024:05\0",
        b"\0",
        b"20240531\0",
        b"\xff" * 9,
    ]
    for number, date in enumerate(dates):
        yield jpeg(f"date {number}", gps(48.1, 11.6), taken(date))
        yield jpeg(f"stamp {number}", gps(48.1, 11.6, other={STAMP: (ASCII, date)}))
        yield jpeg(f"both {number}", gps(48.1, 11.6, other={STAMP: (ASCII, b"2024:03:01\0")}), taken(date))
    yield jpeg("a date of bytes", gps(48.1, 11.6), {TAKEN: (BYTE, b"2024:05:31")})
    yield jpeg("a date of numbers", gps(48.1, 11.6), {TAKEN: (SHORT, [2024, 5, 31])})
    whole = exif(gps(48.1, 11.6), DAY)
    yield "two segments.jpg", in_segments(whole[:90], EXIF + whole[90:])
    yield "behind XMP.jpg", in_segments(b"http://ns.adobe.com/xap/1.0/\0<x/>", whole)
    yield "prefixed twice.jpg", in_segments(EXIF + whole)
    yield "without a prefix.jpg", in_segments(whole[6:])
    yield "empty.jpg", in_segments(EXIF)
    yield "half a head.jpg", in_segments(EXIF + b"II*\0")
    yield "another order.jpg", in_segments(EXIF + b"IM" + whole[8:])
    yield "turned magic.jpg", in_segments(EXIF + b"II\0*" + whole[10:])
    for size in range(8, len(whole), 7):
        yield f"cut at {size}.jpg", in_segments(whole[:size])


def shown(places: Sequence[Place | None]) -> list[tuple[float, float, float] | None]:
    return [each and (each.latitude, each.longitude, each.day) for each in places]


def told(answers: Sequence[dict[str, Any]]) -> list[tuple[float, float, float] | None]:
    places = [each["place"] for each in answers]
    return [each and (each["latitude"], each["longitude"], each["day"]) for each in places]


def written(folder: Path, photos: Sequence[tuple[str, bytes]]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, content in photos:
        (folder / name).write_bytes(content)
    return [folder / name for name, _ in photos]


def test_the_page_reads_the_place_and_the_day_that_python_reads(page: Page, tmp_path: Path) -> None:
    plain, others = list(sound()), list(odd())
    paths = written(tmp_path / "photos", [*((name, content) for name, content, _ in plain), *others])
    python = [place_in(Photo(path, -1)) for path in paths]
    for place, (name, _, expected) in zip(python, plain):
        assert place and place.day == expected.day, name
        assert (place.latitude, place.longitude) == pytest.approx((expected.latitude, expected.longitude), abs=1e-6)
    found = dict(zip((path.name for path in paths), zip(told(page(paths)), shown(python))))
    assert {name: both for name, both in found.items() if both[0] != both[1]} == {}
    places = [both[1] for both in found.values()]
    assert min(places.count(None), sum(place is not None for place in places)) > 20
    assert {place[2] for place in places if place} >= {0, 1, 61, 124, 152, 365, 366}


def test_answers_that_take_in_a_photos_own_place_are_pythons(page: Page, tmp_path: Path) -> None:
    names = tuple("abcdefg")
    prior = random_prior(tmp_path / "geo", names, Combination(0.1, 1.5))
    located = open_located(prior, names[::-1])
    paths = written(tmp_path / "photos", [*((name, content) for name, content, _ in sound()), *odd()])
    rows = np.random.default_rng(1).dirichlet(np.full(7, 0.4), len(paths)).astype(np.float32)
    places = [place_in(Photo(path, -1)) for path in paths]
    geo = {"about": sites._geo(located), "weights": str(prior / WEIGHTS), "rows": rows.tolist()}
    answers = np.array([each["joined"] for each in page(paths, geo)])
    expected = located(rows, places)
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    without = np.array([place is None for place in places])
    assert np.array_equal(answers[without], rows[without]), "no place: the photo alone, to the bit"
    assert np.abs(answers - rows)[~without].max() > 0.2


def test_damaged_exif_is_read_as_python_reads_it(page: Page, tmp_path: Path) -> None:
    """Bytes of the EXIF changed at random, so that all of a directory may lead astray: none is an error."""
    random = np.random.default_rng(0)
    photos = []
    for number in range(600):
        latitude, longitude = WHERE[number % 4]
        stamp = {STAMP: (ASCII, b"2024:03:01\0")} if number % 3 else {}
        content = bytearray(exif(gps(latitude, longitude, other=stamp), DAY, "<>"[number % 2]))
        for _ in range(int(random.integers(1, 5))):
            content[int(random.integers(6, len(content)))] = int(
                random.choice([0, 1, 2, 5, 10, 255, random.integers(256)])
            )
        photos.append((f"{number}.jpg", in_segments(bytes(content))))
    paths = written(tmp_path / "photos", photos)
    python = shown([place_in(Photo(path, -1)) for path in paths])
    found = dict(enumerate(zip(told(page(paths)), python)))
    assert {number: both for number, both in found.items() if both[0] != both[1]} == {}
    assert 100 < python.count(None) < 500 and {0, 61, 152} <= {place[2] for place in python if place}


def test_whatever_bytes_a_file_has_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = [photo(suffix, exif(gps(48.1, 11.6), DAY)) for suffix in ("jpg", "png", "webp")]
    photos = [("empty.jpg", b""), ("start.jpg", b"\xff\xd8"), ("padding.jpg", b"\xff\xd8" + b"\xff" * 3_000_000)]
    photos += [("zeros.png", whole[1][:8] + bytes(3_000_000)), ("zeros.webp", whole[2][:12] + bytes(3_000_000))]
    photos += [("restarts.jpg", b"\xff\xd8" + b"\xff\xd0" * 1_500_000)]
    photos += [("short segments.jpg", b"\xff\xd8" + b"\xff\xe1\0\0" * 700_000)]
    for number in range(400):
        content = bytearray(whole[number % 3])
        for _ in range(int(random.integers(1, 30))):
            content[int(random.integers(len(content)))] = int(random.integers(256))
        photos.append(
            (f"{number}.bin", bytes(content[: int(random.integers(len(content)))] if number % 5 == 0 else content))
        )
    for place in told(page(written(tmp_path / "photos", photos))):
        assert place is None or (abs(place[0]) <= 90 and abs(place[1]) <= 180 and 0 <= place[2] <= 366)
