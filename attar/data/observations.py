"""Observations: what people said about photos that a model was asked about.

An observation is plain data: the photo's hash, the model's answer, and the person's verdict. On disk it is a row of
`metadata.csv` beside the photos, which Hugging Face's `imagefolder` reads too (datasets, "Image classification"), so it
is readable without attar. Column `label` is what the person says the photo shows; it is empty where they do not know.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from attar.errors import InputError

PLACES = 2
"""Decimals of a degree that a place keeps: 0.01 degrees are at most 1.1 km."""

_HASH = Field(pattern=r"^[0-9a-f]{64}$")


class Verdict(StrEnum):
    """What the person said of the model's answer."""

    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    """It is another of the model's classes."""
    OTHER = "other"
    """It is something that the model does not know; a text says what."""
    UNKNOWN = "unknown"
    """The person does not know either."""


LONGEST = 500
"""Characters of a text."""


_JOINERS = "\u200c\u200d"
"""Invisible, and part of writing: Persian and Indian words have them, and emoji."""


def one_line(text: str) -> str:
    """Text of any language that can be shown in a table or a terminal, without spaces around it.

    Raises:
        ValueError: it is longer than `LONGEST`, or has a character that moves the cursor, the line or the direction.
    """
    if len(text) > LONGEST:
        raise ValueError(f"has more than {LONGEST} characters")
    # Controls, formats (such as a turn of the writing direction), surrogates, line and paragraph separators.
    if any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in text if each not in _JOINERS):
        raise ValueError("has a line break or another character that cannot be shown")
    return text.strip()


Line = Annotated[str, AfterValidator(one_line)]


class Place(BaseModel):
    """Where the photo was taken, rounded; only with the person's consent."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)

    @field_validator("latitude", "longitude")
    @classmethod
    def _rounded(cls, value: float) -> float:
        return round(value, PLACES) + 0.0  # no negative zero


CIRCUMSTANCES = ("backend", "latency_ms", "familiarity", "brightness", "sharpness", "side", "with_geo")
"""Fields of an observation that say how the answer came about. Earlier phones send none of them."""
LARGEST_SIDE = 1280
"""Pixels of the photo as the page sends it; its `side` says no more than the photo itself."""


class Observation(BaseModel):
    """One photo, and what a person said of it.

    The attributes from `backend` on are None where nobody measured them. They are about the photo and about how the
    model ran, and name neither the device nor the browser.

    Attributes:
        id: made where the photo was taken; the same observation sent twice has the same.
        image: SHA-256 of the photo's file, as it was sent.
        time: when the person answered, with its time zone; kept in UTC, to the second.
        predicted: the label that the model gave.
        probability: how probable the model said that is, in [0, 1].
        model: SHA-256 of the model's file.
        verdict: what the person said.
        label: the right label, if the verdict is `corrected`.
        text: what it is, if the verdict is `other`.
        place: where, if the person let it be known.
        contributor: who sent it, as the invitation names them.
        backend: how the model ran, such as `litert wasm 4 threads`.
        latency_ms: how long this answer took the model, in milliseconds.
        familiarity: the file's second output, in [0, 1].
        brightness: of the square that the model saw, as `attar.quality` measures it.
        sharpness: likewise.
        side: pixels of the photo's shorter side; at most `LARGEST_SIDE`.
        with_geo: whether `predicted` takes in place and season; `probability` never does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: UUID
    image: str = _HASH
    time: AwareDatetime
    predicted: Line = Field(min_length=1)
    probability: float = Field(ge=0, le=1)
    model: str = _HASH
    verdict: Verdict
    label: Line = ""
    text: Line = ""
    place: Place | None = None
    contributor: Line = ""
    backend: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9 .+-]{0,39}$")
    latency_ms: float | None = Field(default=None, ge=0)
    familiarity: float | None = Field(default=None, ge=0, le=1)
    brightness: float | None = Field(default=None, ge=0, le=255)
    sharpness: float | None = Field(default=None, ge=0)
    side: int | None = Field(default=None, ge=1, le=LARGEST_SIDE)
    with_geo: bool | None = None

    @model_serializer(mode="wrap")
    def _with_what_is_known(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without circumstances that are unknown: an earlier phone's observation is the same to the byte, and an
        earlier attar reads it."""
        plain: dict[str, Any] = handler(self)
        return {name: value for name, value in plain.items() if value is not None or name not in CIRCUMSTANCES}

    @field_validator("time")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        try:
            return value.astimezone(UTC).replace(microsecond=0)
        except (OverflowError, ValueError) as error:
            raise ValueError("is beyond the years that can be kept") from error

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for verdict, name, value in [(Verdict.CORRECTED, "label", self.label), (Verdict.OTHER, "text", self.text)]:
            if (self.verdict is verdict) != bool(value):
                raise ValueError(f"`{name}` belongs to the verdict `{verdict}`, and to no other")
        if self.verdict is Verdict.CORRECTED and self.label == self.predicted:
            raise ValueError("the corrected label is the one that was predicted; the verdict is then `confirmed`")
        return self

    @property
    def said(self) -> str:
        """The label that the person says is right; empty where that is none of the model's."""
        return self.predicted if self.verdict is Verdict.CONFIRMED else self.label


def read_observation(value: Any, source: str) -> Observation:
    """An observation from plain data, such as parsed JSON.

    Raises:
        InputError: it is something else; the text names `source` and the first thing that is wrong.
    """
    try:
        return Observation.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the observation"
        raise InputError(f"{source}: {where}: {first['msg'].removeprefix('Value error, ')}.") from error


_FIRST_COLUMNS = (
    "file_name",
    "label",
    "review",
    "reviewer",
    "verdict",
    "said",
    "predicted",
    "probability",
    "text",
    "time",
    "latitude",
    "longitude",
    "contributor",
    "id",
    "image",
    "model",
)
COLUMNS = (*_FIRST_COLUMNS, *CIRCUMSTANCES)
"""Tables that an earlier attar or page wrote have the first of them only."""


class Review(StrEnum):
    """What a reviewer decided about an observation."""

    NONE = ""
    ACCEPT = "accept"
    RELABEL = "relabel"
    REJECT = "reject"


@dataclass(frozen=True)
class Row:
    """One line of `metadata.csv`.

    Attributes:
        file_name: the photo, relative to the folder of the table.
        observation: what was said of it.
        label: the right label as far as is known: the reviewer's, else the person's; empty where there is none.
        review: what a reviewer decided, if any did.
        reviewer: who that was.
    """

    file_name: str
    observation: Observation
    label: str
    review: Review = Review.NONE
    reviewer: str = ""

    def __post_init__(self) -> None:
        expected = {Review.REJECT: "", Review.RELABEL: self.label}.get(self.review, self.observation.said)
        if self.label != expected or (self.review is Review.RELABEL and not self.label):
            verdict = self.observation.verdict.value
            raise InputError(f"label {self.label!r} does not go with verdict {verdict!r} and review {self.review!r}")
        if bool(self.review) != bool(self.reviewer):
            raise InputError("a review has a reviewer, and a reviewer a review")


def write_metadata(rows: Iterable[Row]) -> Iterator[str]:
    """`metadata.csv`, line by line: the header, then one line per row."""
    yield _line(COLUMNS)
    for row in rows:
        each = row.observation
        latitude, longitude = (each.place.latitude, each.place.longitude) if each.place else ("", "")
        values = [row.file_name, row.label, row.review.value, row.reviewer, each.verdict.value, each.said]
        values += [each.predicted, repr(each.probability), each.text, each.time.isoformat()]
        values += [str(latitude), str(longitude), each.contributor, str(each.id), each.image, each.model]
        yield _line([*values, *(_cell(getattr(each, name)) for name in CIRCUMSTANCES)])


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else value


def _line(values: Iterable[object]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(values)
    return stream.getvalue()


def read_metadata(lines: Iterable[str], source: str) -> Iterator[Row]:
    """What `write_metadata` wrote, one row at a time.

    Raises:
        InputError: other columns, a row of another length, a value that is none, or a file name outside the folder; the
            text names `source` and the line.
    """
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        if tuple(header) not in (COLUMNS, _FIRST_COLUMNS):
            raise InputError(f"{source}: not a table of observations; its columns are {', '.join(header)[:200]!r}.")
        for row in reader:
            where = f"{source}, line {reader.line_num}"
            if len(row) != len(header):
                raise InputError(f"{where}: {len(row)} values for {len(header)} columns.")
            yield _from_cells(dict(zip(header, row)), where)
    except csv.Error as error:
        raise InputError(f"{source}, line {reader.line_num}: {error}.") from error


def _from_cells(cells: dict[str, str], where: str) -> Row:
    name = cells.pop("file_name")
    path = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or path.is_absolute() or ".." in path.parts:
        raise InputError(f"{where}: file_name {name!r} is not inside the folder.")
    latitude, longitude, said = cells.pop("latitude"), cells.pop("longitude"), cells.pop("said")
    label, review, reviewer = cells.pop("label"), cells.pop("review"), cells.pop("reviewer")
    place = {"latitude": latitude, "longitude": longitude} if latitude or longitude else None
    corrected = said if cells["verdict"] == Verdict.CORRECTED else ""
    known = {key: value for key, value in cells.items() if value or key not in CIRCUMSTANCES}
    observation = read_observation({**known, "label": corrected, "place": place}, where)
    if observation.said != said:
        raise InputError(f"{where}: said {said!r} does not go with the verdict {observation.verdict.value!r}.")
    if review not in set(Review):
        raise InputError(f"{where}: review {review!r} is none of {', '.join(filter(None, Review))}, or nothing.")
    try:
        return Row(name, observation, label, Review(review), one_line(reviewer))
    except (InputError, ValueError) as error:
        raise InputError(f"{where}: {error}.") from error
