"""What a browser may post. Everything is foreign text: types, counts, sizes and ranges are checked before any use."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from attar.benchmarks.latency.measure import BLOCK

LONGEST = 60_000_000_000
"""No sample, loading or first inference lasts a minute, in nanoseconds."""
MOST_JOBS = 256


class Refused(Exception):
    """A message that is not accepted, and nothing of it is kept; `status` is HTTP's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def plain(text: str) -> str:
    """Without control characters, so that a terminal shows it as it is, and without space around it."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


Nanoseconds = Annotated[int, Field(gt=0, lt=LONGEST)]
Number = Annotated[int, Field(ge=0, lt=MOST_JOBS)]
Word = Annotated[str, Field(max_length=120), AfterValidator(plain)]
Sentence = Annotated[str, Field(max_length=500), AfterValidator(plain)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Conditions(_Message):
    """What a browser tells of its device at one moment; None where it does not say."""

    timer: Annotated[int, Field(gt=0, le=1_000_000_000)]
    battery: Share | None = None
    charging: bool | None = None


class VisitorDevice(_Message):
    """What a browser tells of itself; the user agent's client hints only where it has them."""

    user_agent: Sentence
    platform: Word | None = None
    platform_version: Word | None = None
    model: Word | None = None
    architecture: Word | None = None
    cores: Annotated[int, Field(ge=1, le=4096)] | None = None
    memory: Annotated[float, Field(gt=0, le=65536)] | None = None
    gpu: Word | None = None
    isolated: bool
    secure: bool
    relaxed_simd: bool


class Hello(_Message):
    """The first message: `webgpu` says whether it has an adapter."""

    device: VisitorDevice
    webgpu: bool
    conditions: Conditions


class Ready(_Message):
    """A file was loaded, run for the first time, run on the golden photos, and warmed up.

    `per`: inferences in one sample. `answers`: null where the runtime gave no finite number.
    """

    job: Number
    load: Nanoseconds
    first: Nanoseconds
    warmup: Annotated[int, Field(ge=1, le=10_000_000)]
    per: Annotated[int, Field(ge=1, le=1_000_000)]
    threads: Annotated[int, Field(ge=1, le=4096)]
    answers: list[list[float | None]]


class Failure(_Message):
    """A file that the runtime does not load or run."""

    job: Number
    error: Sentence


class Turn(_Message):
    """One file's block of a round: nanoseconds of one inference in each sample."""

    job: Number
    samples: Annotated[list[Nanoseconds], Field(min_length=BLOCK, max_length=BLOCK)]


class Round(_Message):
    """One block of every file; `number` counts from 0."""

    number: Annotated[int, Field(ge=0, lt=1_000_000)]
    turns: Annotated[list[Turn], Field(min_length=1, max_length=MOST_JOBS)]


class Done(_Message):
    """The last message. `hidden`: how often the page was out of sight."""

    conditions: Conditions
    hidden: Annotated[int, Field(ge=0, le=1_000_000)]


M = TypeVar("M", bound=_Message)


def parse(kind: type[M], body: bytes) -> M:
    """A message of this kind, or `Refused` with the first thing that is wrong (and none of the sender's text)."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:80]
        raise Refused(422, f"{plain(where)}: {first['msg']}"[:200]) from None
