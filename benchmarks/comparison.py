"""The result of a comparison: plain data, from which every table and picture is made.

Shares (accuracy, agreement, calibration error) are in [0, 1], latency in milliseconds, sizes in bytes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from attar.errors import InputError
from attar.images import Part
from benchmarks.floor import Floor

SCHEMA = 2

Kind = Literal["teacher", "student", "file"]


@dataclass(frozen=True)
class Interval:
    """A share or a difference of shares, with its 95% bootstrap interval over the images."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: images, their mean confidence, and the share that was right."""

    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Latency:
    """From the last record of a file with this content; `interval` is the median's, None for an end not known."""

    p50: float
    p90: float
    p99: float
    samples: int
    load: float
    first: float
    peak_memory: int | None
    threads: int
    runtime: str
    measured: str
    interval: tuple[float, float | None]
    floor: Floor | None = None


@dataclass(frozen=True)
class Row:
    """One model or file.

    Attributes:
        name: `teacher`, `student`, or the file's target, such as `litert:int8`.
        about: the architecture of a model, the name of a file.
        bytes: of the weights of a model, of the whole file otherwise.
        top5: None below six classes, where almost any answer is among the five.
        difference: top-1 minus the student's, paired over images; None for the student.
        agreement: share of images with the teacher's answer; None without a teacher.
        ece: expected calibration error, 15 bins.
        latency: None when not measured; `latency_note` says why.
        evaluator: the program whose answers these are.
        min_runtime: of a file, the oldest runtime that runs it, where that is known.
        opinions: of a file, the other programs that gave the same answers when it was verified.
        recovery: of a file in integers, how it was kept accurate; see `export.recovery`.
    """

    name: str
    kind: Kind
    about: str
    bytes: int
    top1: Interval
    top5: Interval | None
    difference: Interval | None
    agreement: float | None
    ece: float
    reliability: tuple[Bin, ...]
    latency: Latency | None
    latency_note: str
    partitions: dict[str, Any] | None
    evaluator: str
    min_runtime: str | None = None
    opinions: tuple[str, ...] = ()
    recovery: dict[str, Any] | None = None


@dataclass(frozen=True)
class ClassRow:
    """One class: its images, and every row's accuracy on them."""

    label: str
    images: int
    accuracy: dict[str, float]
    change: float
    """The worst change of the student or of a file against the teacher (without one, against the student)."""


@dataclass(frozen=True)
class Example:
    """A photo that the student gets wrong and the teacher right; `photo` and `part` are where it lies, if known."""

    name: str
    label: str
    teacher: str
    teacher_confidence: float
    student: str
    student_confidence: float
    photo: Path | None = None
    part: Part | None = None


@dataclass(frozen=True)
class Choice:
    """Which file to take, and why, in plain words."""

    file: str | None
    target: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that a report shows."""

    title: str
    rows: tuple[Row, ...]
    classes: int
    images: int
    choice: Choice
    worst_classes: tuple[ClassRow, ...]
    examples: tuple[Example, ...]
    example_count: int
    failed: tuple[dict[str, str], ...]
    set_aside: tuple[dict[str, str], ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    def row(self, name: str) -> Row | None:
        """The row of this name."""
        return next((row for row in self.rows if row.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As plain data; examples are named as in the data set, not by their place on this machine."""
        value = asdict(self)
        for example in value["examples"]:
            del example["photo"], example["part"]
        return {"schema": SCHEMA, **value}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Comparison:
        """What `to_json` gave, read back (a report.json); `InputError` when it is something else."""
        if value.get("schema") != SCHEMA:
            raise InputError(f"Not a report.json of schema {SCHEMA} (found {value.get('schema')!r}): make it again.")
        try:
            return TypeAdapter(cls).validate_python({key: part for key, part in value.items() if key != "schema"})
        except ValidationError as error:
            raise InputError(f"Not a whole report.json: {error}") from error
