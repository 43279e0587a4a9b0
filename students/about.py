"""What students weigh.

Nothing is downloaded: networks are made on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from attar.students.create import check_name, create_student
from attar.students.families import family_of
from attar.students.student import Student
from attar.students.tested import TARGETS, UNTESTED, summary, tested, where_it_runs

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class About:
    """A student.

    Attributes:
        size: side of the images that its pretrained weights were made for, pixels; any from 32 on will do.
        family: of `attar.students.families`; None if it is of none of them.
        parameters: how many weights it has, the head for `classes` classes with them.
        multiply_adds: for one image of `size` pixels: convolutions and matrix products.
        runs: place -> file -> `yes`, `untested`, or why not, of `attar.students.tested`.
        weights: names of the pretrained weights that timm has of it.
    """

    name: str
    size: int
    classes: int
    family: str | None
    parameters: int
    multiply_adds: int
    runs: dict[str, dict[str, str]]
    weights: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def about_students(names: Sequence[str] = (), *, classes: int = 100, head: str = "dwsconv") -> Iterator[About]:
    """What students weigh, one at a time; by default those that were tested.

    Raises:
        InputError: an unknown name.
    """
    for name in names:
        check_name(name)
    for name in names or tested():
        with torch.device("meta"):
            student = create_student(name, classes, head=head)
        architecture = name.partition(".")[0]
        tags = (full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*"))
        config = timm.get_pretrained_cfg(name)
        size = config.input_size[-1] if config else 224
        parameters = sum(parameter.numel() for parameter in student.parameters())
        yield About(
            name,
            size,
            classes,
            family_of(name),
            parameters,
            _multiply_adds(student, size),
            where_it_runs(name),
            tuple(sorted(tags)),
        )


def _multiply_adds(student: Student, size: int) -> int:
    """Of one image, by torch's own counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        student.eval()(torch.zeros(1, 3, size, size, device="meta"))
    return int(counter.get_total_flops()) // 2


def table(students: Sequence[About]) -> Table:
    """For a person: 80 columns."""
    from rich.table import Table

    shown = Table("timm model", "Size", "Params", "GMACs", *TARGETS, "Weights", box=None, padding=(0, 1, 0, 0))
    shown.columns[0].no_wrap = True
    for column in (*shown.columns[1:4], shown.columns[-1]):
        column.justify = "right"
    for each in students:
        shown.add_row(
            each.name,
            str(each.size),
            f"{each.parameters / 1e6:.2f} M",
            f"{each.multiply_adds / 1e9:.2f}",
            *(_SHORT.get(word := summary(files), word) for files in each.runs.values()),
            str(len(each.weights) or "none"),
        )
    return shown


_SHORT = {UNTESTED: "?", "partly": "part"}


def remarks(students: Sequence[About]) -> list[str]:
    """What does not run, or not whole, with the reason: a line each."""
    return [
        f"{each.name}, {target} ({place}): {text}"
        for each in students
        for place, files in each.runs.items()
        for target, text in files.items()
        if ": " in text
    ]
