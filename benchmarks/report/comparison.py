"""The result of a comparison: plain data, from which every table and picture is made.

Shares (accuracy, agreement, calibration error) are in [0, 1], latency in milliseconds, sizes in bytes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from attar.benchmarks.latency.roofline import Floor
from attar.benchmarks.units import megabytes, milliseconds, percent
from attar.data.images import Part
from attar.errors import InputError
from attar.metrics import Bin
from attar.readiness import Readiness

SCHEMA = 4
READY = Readiness()

Kind = Literal["teacher", "student", "file"]


@dataclass(frozen=True)
class Interval:
    """A share or a difference of shares, with its 95% bootstrap interval over the images."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """From a record of a file with this content; `interval` is the median's, None for an end not known."""

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
        recovery: of a file in integers, how it was kept accurate; see `attar.export.recovery`.
        groups: share of images whose answer is in the right group, for each level of the labels' hierarchy.
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
    groups: tuple[Interval, ...] = ()


@dataclass(frozen=True)
class Example:
    """A photo that one of two models gets right and the other wrong; `photo` and `part` are where it lies, if known.

    Attributes:
        name: as the data set names it.
        label: what it shows.
        reference, file: what each of `Comparison.compared` answered, and how sure it was.
    """

    name: str
    label: str
    reference: str
    reference_confidence: float
    file: str
    file_confidence: float
    photo: Path | None = None
    part: Part | None = None


@dataclass(frozen=True)
class ClassRow:
    """One class: its images, and every row's accuracy on them.

    Attributes:
        change: the file's accuracy minus the reference's (`Comparison.compared`), with its paired 95% interval.
        certain: whether it stands out from chance among all classes.
        lost, won: photos that only the reference, and only the file, gets right, the surest first; and how many.
    """

    label: str
    images: int
    accuracy: dict[str, float]
    change: Interval
    certain: bool
    lost: tuple[Example, ...] = ()
    lost_count: int = 0
    won: tuple[Example, ...] = ()
    won_count: int = 0


@dataclass(frozen=True)
class Timing:
    """One file measured on a device in one way.

    Attributes:
        target: of the file.
        way: runtime, accelerator and threads, for a person.
        agrees: whether its answers there are those that were verified; None where that was not looked at.
        operators: where the time goes, as a record has it; None where the runtime does not say.
        profiled: milliseconds of all of an inference while it was profiled, where that is known.
    """

    target: str
    way: str
    latency: Latency
    agrees: bool | None = None
    operators: tuple[dict[str, Any], ...] | None = None
    profiled: float | None = None


@dataclass(frozen=True)
class Choice:
    """Which file to take, and why, in plain words."""

    file: str | None
    target: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Device:
    """A device that files were measured on, and which of them to take for it.

    Attributes:
        name: for a person, such as `Google Pixel 8`; no two devices of a comparison share it.
        kind: `android`, `browser` or `host`.
        about: what else it tells of itself.
        timings: the last one of each file and runtime.
        choice: the file to take on this device.
        notes: what speaks against its figures.
    """

    name: str
    kind: str
    about: str
    timings: tuple[Timing, ...]
    choice: Choice
    notes: tuple[str, ...] = ()

    def best(self, target: str) -> Timing | None:
        """The fastest way to run a file whose answers there are not wrong; None where there is none."""
        fit = [each for each in self.timings if each.target == target and each.agrees is not False]
        return min(fit, key=lambda each: each.latency.p50, default=None)


@dataclass(frozen=True)
class Needs:
    """What a file has to meet; None where anything will do.

    Attributes:
        max_ms: median latency, milliseconds.
        max_mb: size of the file, decimal megabytes.
        min_top1: top-1, share of photos; it takes the place of the point that a file may lose against the student.
    """

    max_ms: float | None = None
    max_mb: float | None = None
    min_top1: float | None = None

    def missed(self, row: Row) -> list[str]:
        """What a file does not meet, in words; nothing if it meets all."""
        unmet = []
        if self.min_top1 is not None and row.top1.value < self.min_top1:
            unmet.append(f"it is right on {percent(row.top1.value)} of the photos, not {percent(self.min_top1)}")
        if self.max_ms is not None and row.latency is None:
            unmet.append("its latency was not measured here")
        if self.max_ms is not None and row.latency is not None and row.latency.p50 > self.max_ms:
            unmet.append(f"it takes {milliseconds(row.latency.p50)}, not {milliseconds(self.max_ms)}")
        if self.max_mb is not None and row.bytes > 1e6 * self.max_mb:
            unmet.append(f"it weighs {megabytes(row.bytes)}, not {megabytes(round(1e6 * self.max_mb))}")
        return unmet

    def __str__(self) -> str:
        asked = [
            f"at most {milliseconds(self.max_ms)}" if self.max_ms is not None else "",
            f"at most {megabytes(round(1e6 * self.max_mb))}" if self.max_mb is not None else "",
            f"at least {percent(self.min_top1)} top-1" if self.min_top1 is not None else "",
        ]
        return ", ".join(filter(None, asked))


@dataclass(frozen=True)
class Sensitivity:
    """What making one layer alone integer does: its divergence from the student's answers, nats, most harmful first.

    `whole` is that of the file with every layer integer, None where it was not kept; `source` is where this is from.
    """

    target: str
    source: str
    layers: tuple[dict[str, Any], ...]
    whole: float | None = None


@dataclass(frozen=True)
class EveryClass:
    """Every class that has validation photos, as columns of equal length, in the labels' order.

    Attributes:
        names: of the classes.
        photos: how many validation photos each has.
        right: row's name -> on how many of them it is right.
        taken_for: what the file to take says most often of those that it has wrong; empty where it has none wrong.
        taken: how often it says so.
    """

    names: tuple[str, ...]
    photos: tuple[int, ...]
    right: dict[str, tuple[int, ...]]
    taken_for: tuple[str, ...]
    taken: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that a report shows.

    `compared` names the two rows whose classes `changes` compares: the reference (the teacher where there is one), and
    the file to take (the student where there is none). `choice` is that of the first device. Where `readiness` has
    reasons against the student, the choices only say which file would be taken. `levels` are the numbers of groups at
    each level of the labels' hierarchy, the nearest first. `with_place` is what the student gains by a prior of place
    and season (`attar.geo.gain`), if there is one.
    """

    title: str
    rows: tuple[Row, ...]
    classes: int
    images: int
    choice: Choice
    compared: tuple[str, str]
    changes: tuple[ClassRow, ...]
    failed: tuple[dict[str, str], ...]
    set_aside: tuple[dict[str, str], ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    needs: Needs = Needs()
    devices: tuple[Device, ...] = ()
    sensitivity: Sensitivity | None = None
    readiness: Readiness = READY
    every_class: EveryClass | None = None
    levels: tuple[int, ...] = ()
    with_place: dict[str, Any] | None = None

    def row(self, name: str) -> Row | None:
        """The row of this name."""
        return next((row for row in self.rows if row.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As plain data; examples are named as in the data set, not by their place on this machine."""
        value = asdict(self)
        for change in value["changes"]:
            for example in (*change["lost"], *change["won"]):
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
