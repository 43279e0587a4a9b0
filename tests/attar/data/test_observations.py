"""Observations: what is kept is what was said, and what is none is refused in words."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.data.observations import (
    CIRCUMSTANCES,
    COLUMNS,
    Observation,
    Review,
    Row,
    Verdict,
    read_metadata,
    read_observation,
    write_metadata,
)
from attar.errors import InputError

HASH = "0123456789abcdef" * 4


def plain(**changes: Any) -> dict[str, Any]:
    value = {
        "id": "12345678-1234-4234-8234-123456789abc",
        "image": HASH,
        "time": "2026-05-01T12:00:00+02:00",
        "predicted": "Acer campestre",
        "probability": 0.75,
        "model": HASH[::-1],
        "verdict": "confirmed",
    }
    return {**value, **changes}


texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1, max_size=30)


circumstances = st.fixed_dictionaries(
    {},
    optional={
        "backend": st.sampled_from(["litert wasm 4 threads", "onnx wasm 1 thread", "core-ml 8.3+ane"]),
        "latency_ms": st.floats(0, 1e6),
        "familiarity": st.floats(0, 1),
        "brightness": st.floats(0, 255),
        "sharpness": st.floats(0, 1e6),
        "side": st.integers(1, 1280),
        "with_geo": st.booleans(),
    },
)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    verdict = draw(st.sampled_from(Verdict))
    predicted = draw(texts)
    corrected = texts.filter(lambda text: text != predicted)
    zone = timezone(timedelta(minutes=draw(st.integers(-720, 720))))
    place = {"latitude": draw(st.floats(-90, 90)), "longitude": draw(st.floats(-180, 180))}
    return read_observation(
        plain(
            id=str(draw(st.uuids())),
            time=draw(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(zone))),
            predicted=predicted,
            probability=draw(st.floats(0, 1)),
            verdict=verdict,
            label=draw(corrected) if verdict is Verdict.CORRECTED else "",
            text=draw(texts) if verdict is Verdict.OTHER else "",
            place=draw(st.none() | st.just(place)),
            contributor=draw(st.just("") | texts),
            **draw(circumstances),
        ),
        "drawn",
    )


@given(st.lists(observations(), max_size=5))
def test_a_table_says_what_was_written(drawn: list[Observation]) -> None:
    rows = [row for number, each in enumerate(drawn) for row in reviewed(f"photos/{number}", each)]
    table = "".join(write_metadata(rows))
    assert list(read_metadata(io.StringIO(table), "table")) == rows
    read = list(csv.DictReader(io.StringIO(table)))  # as anyone else reads it
    assert [row["label"] for row in read] == [row.label for row in rows]


@given(observations())
def test_a_phone_that_measures_nothing_and_one_of_before_send_the_same(drawn: Observation) -> None:
    before = {name: value for name, value in drawn.model_dump(mode="json").items() if name not in CIRCUMSTANCES}
    read = read_observation(before, "before")
    assert read == drawn.model_copy(update=dict.fromkeys(CIRCUMSTANCES))
    assert read.model_dump(mode="json") == before and json.loads(read.model_dump_json()) == before
    assert read_observation(drawn.model_dump(mode="json"), "again") == drawn


@given(st.lists(observations(), max_size=3))
def test_a_table_of_before_is_read(drawn: list[Observation]) -> None:
    rows = [Row(f"photos/{number}.jpg", each, each.said) for number, each in enumerate(drawn)]
    table = list(csv.reader(io.StringIO("".join(write_metadata(rows)))))
    stream = io.StringIO()
    csv.writer(stream).writerows(line[: COLUMNS.index("backend")] for line in table)
    unmeasured = [each.model_copy(update=dict.fromkeys(CIRCUMSTANCES)) for each in drawn]
    assert [row.observation for row in read_metadata(io.StringIO(stream.getvalue()), "table")] == unmeasured


def reviewed(name: str, each: Observation) -> list[Row]:
    """One observation as each kind of review leaves it."""
    return [
        Row(f"{name}.jpg", each, each.said),
        Row(f"{name}a.jpg", each, each.said, Review.ACCEPT, "Ben"),
        Row(f"{name}b.jpg", each, "Acer, rubrum", Review.RELABEL, "Ben"),
        Row(f"{name}c.jpg", each, "", Review.REJECT, "Ben"),
    ]


def test_a_place_is_rounded_and_a_time_is_utc() -> None:
    place = {"latitude": 48.137154, "longitude": -0.001}
    observation = read_observation(plain(place=place), "here")
    assert observation.place and (observation.place.latitude, observation.place.longitude) == (48.14, 0.0)
    assert observation.time == datetime(2026, 5, 1, 10, tzinfo=UTC) and observation.time.utcoffset() == timedelta(0)
    assert observation.id == UUID(plain()["id"]) and observation.said == "Acer campestre"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "7"}, "id"),
        ({"image": HASH.upper()}, "image"),
        ({"model": "../" + HASH}, "model"),
        ({"time": "2026-05-01T12:00:00"}, "time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "beyond the years"),
        ({"predicted": ""}, "predicted"),
        ({"predicted": "a\x1b[31m"}, "cannot be shown"),
        ({"predicted": "a\nb"}, "line break"),
        ({"predicted": "a" * 501}, "500"),
        ({"probability": 1.1}, "probability"),
        ({"probability": float("nan")}, "probability"),
        ({"verdict": "maybe"}, "verdict"),
        ({"verdict": "corrected"}, "`label` belongs"),
        ({"verdict": "confirmed", "label": "Acer rubrum"}, "`label` belongs"),
        ({"verdict": "corrected", "label": "Acer campestre"}, "the one that was predicted"),
        ({"verdict": "other"}, "`text` belongs"),
        ({"verdict": "unknown", "text": "a fern"}, "`text` belongs"),
        ({"place": {"latitude": 91, "longitude": 0}}, "place.latitude"),
        ({"place": {"latitude": 1}}, "place.longitude"),
        ({"place": {"latitude": 1, "longitude": 1, "altitude": 1}}, "altitude"),
        ({"serial": "1"}, "serial"),
        ({"backend": "Mozilla/5.0 (Linux; Android 15)"}, "backend"),
        ({"backend": "a" * 41}, "backend"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"familiarity": 1.01}, "familiarity"),
        ({"brightness": 256}, "brightness"),
        ({"sharpness": float("inf")}, "sharpness"),
        ({"side": 4000}, "side"),
        ({"with_geo": "perhaps"}, "with_geo"),
    ],
)
def test_what_is_no_observation_is_refused_in_words(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"^upload: ") as caught:
        read_observation(plain(**changes), "upload")
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, "text", [], {}])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="upload"):
        read_observation(value, "upload")


def table(**changes: str) -> str:
    [header, line] = write_metadata(
        [Row("photos/a.jpg", observation := read_observation(plain(), "here"), observation.said)]
    )
    row = dict(zip(COLUMNS, next(csv.reader([line])))) | changes
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(row.values())
    return header + stream.getvalue()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a table of observations"),
        ("file_name,label\na.jpg,b\n", "not a table of observations"),
        (table() + "a,b\n", "line 3: 2 values for 23 columns"),
        (table(file_name="../a.jpg"), "line 2: file_name"),
        (table(file_name="/a.jpg"), "line 2: file_name"),
        (table(file_name=""), "line 2: file_name"),
        (table(label="Acer rubrum"), "line 2: label"),
        (table(said="Acer rubrum"), "line 2: said"),
        (table(review="accept"), "line 2: a review has a reviewer"),
        (table(reviewer="Ben"), "line 2: a review has a reviewer"),
        (table(review="keep", reviewer="Ben"), "line 2: review 'keep' is none of accept, relabel, reject"),
        (table(review="reject", reviewer="Ben"), "line 2: label"),
        (table(review="relabel", reviewer="Ben", label=""), "line 2: label"),
        (table(review="accept", reviewer="B\x1bn"), "line 2: has a line break"),
        (table(latitude="48.14"), "place.longitude"),
        (table(latitude="north", longitude="0"), "place.latitude"),
        (table(probability="high"), "probability"),
        (table(latency_ms="soon"), "latency_ms"),
        (table().replace(",with_geo", ""), "not a table of observations"),
    ],
)
def test_a_table_of_something_else_is_refused_by_its_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=r"^metadata\.csv") as caught:
        list(read_metadata(io.StringIO(text), "metadata.csv"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text", ["خانه\u200cها", "👩\u200d🌾", "a\u00a0b", "\u3000", "日本\u3000語", "\U0001fae8", "क्\u200dष", "naïve"]
)
def test_every_writing_can_be_said(text: str) -> None:
    said = read_observation(plain(verdict="other", text=f"x{text}x"), "here")
    assert said.text == f"x{text}x"


@pytest.mark.parametrize("text", ["a\nb", "a\u202eb", "\x1b[31m", "a\u2028b", "a\x7fb", "a\u2066b", "a\x00b"])
def test_what_moves_a_terminals_cursor_or_turns_a_line_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot be shown"):
        read_observation(plain(verdict="other", text=text), "here")
