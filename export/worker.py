"""One target's process: makes the file, writes down how it went, and ends."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.bundle import Bundle
from attar.errors import AttarError, GateError
from attar.export import artifact_cache
from attar.export.capture_output import captured
from attar.export.decision import PRECISION
from attar.export.formats import FORMATS, Format
from attar.export.targets import Target
from attar.files import save_array


@dataclass(frozen=True)
class Job:
    """Files to make of one student.

    Attributes:
        bundle: the student.
        targets: what to make, in this order.
        formats: the caller's `FORMATS`, with any that it registered itself.
        folder: scratch space that the caller removes: the images and answers (`save_arrays`), logs, results.
        staging: where files are written, on the disk that they are meant for.
        max_drop: points of top-1 that a file may lose.
        precision: of the answers that a file is to be sure of.
    """

    bundle: Bundle
    targets: tuple[Target, ...]
    formats: dict[str, Format]
    folder: Path
    staging: Path
    max_drop: float
    precision: float = PRECISION

    def log(self, target: Target) -> Path:
        """Everything that a target's process printed."""
        return self.folder / f"{target.file}.log"

    def result(self, target: Target) -> Path:
        """How it went; missing when its process crashed."""
        return self.folder / f"{target.file}.json"


OPTIONAL = ("common", "groups", "familiarity", "strange", "strange_familiarity")
"""Parts of a reference that may be missing; then their arrays are empty."""
ARRAYS = ("pixels", "labels", "probabilities", "calibration", *OPTIONAL)


def save_arrays(folder: Path, **arrays: np.ndarray) -> None:
    """Put what every target's process reads where it can map it into memory."""
    for name in ARRAYS:
        save_array(folder / f"{name}.npy", arrays[name])


def work(job: Job, target: Target, parent: int) -> None:
    """Make one target's file, leave its result in `job.result(target)`, and end this process."""
    FORMATS.update(job.formats)
    os.setsid()  # a group of its own, so that it can be ended with whatever it starts
    _die_with(parent)
    with captured(job.log(target)):
        faulthandler.enable(2)  # a crash leaves the Python stack in the log
        result = _outcome(job, target)
    partial = job.result(target).with_suffix(".partial")
    partial.write_text(json.dumps(result))
    partial.rename(job.result(target))
    # Not sys.exit: converters' libraries have crashed while they were taken down, with the file long made.
    os._exit(0)


def _outcome(job: Job, target: Target) -> dict[str, Any]:
    """The file's manifest entry, or the error."""
    try:
        return {"entry": _make(job, target)}
    except AttarError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except Exception as error:  # a bug of ours, or memory ran out: this target's alone all the same
        return {"error": f"{error!r}\n{traceback.format_exc()}", "kind": GateError.__name__}


def _make(job: Job, target: Target) -> dict[str, Any]:
    from attar import students
    from attar.export.convert_and_verify import make
    from attar.export.verify import Reference

    arrays = {name: np.load(job.folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
    calibration = arrays.pop("calibration")
    optional: dict[str, Any] = {name: each if len(each := arrays.pop(name)) else None for name in OPTIONAL}
    reference = Reference(job.bundle, **arrays, **optional)
    with artifact_cache.kept_in(job.folder):
        student = students.reparameterized(students.load(job.bundle))
        return asdict(make(target, student, reference, calibration, job.staging, job.max_drop, job.precision))


def _die_with(parent: int) -> None:
    """Have Linux end this process should `parent` be killed before it could end us itself (prctl(2))."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it went between the fork and the call
            os._exit(1)
