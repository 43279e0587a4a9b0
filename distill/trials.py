"""What may make a student better, found by trying: each change for a tenth of the training, against a control.

The control trains the student on for as long with nothing changed, over views that it has seen. What a change gains
is its gain over the control on the validation photos, paired over them, never over the student as it was: training
on alone changes it too. A change whose interval includes zero is no evidence, and is not suggested.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from attar import students
from attar.answers import most_probable
from attar.bundle import Bundle
from attar.console import say
from attar.data.photos import Photos, labels_of
from attar.data.pixels import Pixels
from attar.data.views import ViewPolicy
from attar.distill.fit import Task, fit
from attar.distill.teacher_outputs import identity_of
from attar.errors import InputError
from attar.extras import version
from attar.files import digest_of, make_folder, read_json, write_json
from attar.inference import predict_batches, torch_device
from attar.metrics import paired_interval
from attar.recipe import DistillSpec, validate
from attar.students.widen import widened
from attar.train import distributed
from attar.train.checkpoints import discard

SHARE = 0.1
"""Of the student's epochs, and of its learning rate."""

LARGER = 1.25
"""At least by how much a larger input is larger; the side becomes a multiple of 32 pixels."""


@dataclass(frozen=True)
class Trial:
    """A short training of a student that has been trained.

    Attributes:
        student: where it starts.
        spec: its schedule and image size.
        views: the view policy.
        first: number of its first epoch, and so of its first view.
        what: what is changed, for a person.
    """

    student: students.Student
    spec: DistillSpec
    views: ViewPolicy
    first: int = 0
    what: str = ""


@dataclass(frozen=True)
class Tried:
    """One change: its top-1, and its gain over the control with the interval's ends, as shares."""

    change: str
    what: str
    top1: float
    gain: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the interval says."""
        return "helps" if self.low > 0 else "worse so soon" if self.high < 0 else "no evidence"


@dataclass(frozen=True)
class Trials:
    """What was tried and found.

    Attributes:
        how: how it was measured, for a person.
        level: of each interval; together they hold in 95%.
        student, control: top-1 of the student as it was, and of the control.
        tried: the changes, the largest gain first.
        left_out: changes that could not be tried, and why.
    """

    how: str
    level: float
    student: float
    control: float
    tried: tuple[Tried, ...]
    left_out: tuple[str, ...]

    @property
    def suggestion(self) -> str:
        """What to do, for a person."""
        helps = [each for each in self.tried if each.verdict == "helps"]
        if not helps:
            return "There is no evidence that any of these changes helps."
        listed = "; ".join(f"{each.change} ({each.what}), {100 * each.gain:+.1f} points" for each in helps)
        return f"What helps, estimated over the control: {listed}."

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        tried = [{**asdict(each), "verdict": each.verdict} for each in self.tried]
        return {**asdict(self), "tried": tried, "left_out": list(self.left_out), "suggestion": self.suggestion}


def run_trials(
    student: Bundle, photos: Photos, output: Path, *, teacher: Bundle | None = None, cache: Path | None = None
) -> Trials:
    """Try every change of `CHANGES` on a student.

    Args:
        student: its bundle, which says how it was trained.
        photos: the photos it was trained on.
        output: folder of what is kept of finished and interrupted trainings: what is killed continues.
        teacher: the teacher it learned from; None for a student of labels alone.
        cache: folder of that teacher's cache; by default one in `output`.

    Raises:
        InputError: other photos or another teacher than the student was made from, or a student made for integers.
    """
    _require_own(student, photos, teacher)
    control = _control(student)
    chosen, left_out = {}, []
    for name, change in CHANGES.items():
        try:
            chosen[name] = change(control)
        except InputError as reason:
            left_out.append(f"{name} was not tried. {reason}")
    epochs = control.spec.epochs
    say(f"Trials: {1 + len(chosen)} trainings, epochs each: {epochs}; of a longer schedule: {2 * epochs}")
    make_folder(output)

    def right(name: str, trial: Trial) -> np.ndarray:
        return _right(name, trial, student, photos, output, teacher, cache or output / "teacher-cache")

    level = 1 - 0.05 / max(1, len(chosen))
    base = right("control", control)
    tried = [_tried(name, trial, right(name, trial), base, level) for name, trial in chosen.items()]
    return Trials(
        how=f"Each change was tried by training the student on (epochs: {epochs}; for schedule {2 * epochs}) at "
        f"{SHARE:g} of its learning rate, against a control with nothing changed, on one seed. The gain of a full "
        "training may be larger or smaller, and what is worse so soon may need longer: a larger input most of all.",
        level=level,
        student=float(student.metrics["top1"]),
        control=float(base.mean()),
        tried=tuple(sorted(tried, key=lambda each: -each.gain)),
        left_out=tuple(left_out),
    )


def _require_own(student: Bundle, photos: Photos, teacher: Bundle | None) -> None:
    about = student.provenance
    if distributed.count() > 1:
        raise InputError("Trials run in one process. Start it without torchrun.")
    if "student" not in about.get("recipe", {}) or "quantization_aware" in about:
        raise InputError(
            f"{student.path}: does not say how it was trained, or was trained on for integers. Give a student that "
            "`attar distill` made."
        )
    fingerprints = (about["data"]["fingerprint"], (about["data"].get("unlabelled") or {}).get("fingerprint", ""))
    if fingerprints != (photos.fingerprint, photos.unlabelled_fingerprint):
        raise InputError(f"{photos.spec.path}: not the photos that {student.path} was made from. Give it those.")
    taught, given = (about.get("teacher") or {}).get("fingerprint"), teacher.fingerprint if teacher else None
    if taught != given:
        raise InputError(
            f"{student.path}: its teacher was {_short(taught)}, and {_short(given)} is given. "
            "Give --teacher the bundle it learned from."
        )


def _short(fingerprint: str | None) -> str:
    return fingerprint[:12] if fingerprint else "none"


def _control(student: Bundle) -> Trial:
    recipe = validate(student.provenance["recipe"], str(student.path))
    epochs = max(1, round(SHARE * recipe.student.epochs))
    spec = recipe.student.model_copy(update={"epochs": epochs, "lr": SHARE * recipe.student.lr, "select": "last"})
    seen = len(recipe.views.seen(recipe.student.epochs))
    return Trial(students.load(student), spec, replace(recipe.views, count=seen))


def _more_views(control: Trial) -> Trial:
    seen, repeats = control.views.count, control.views.repeats
    first, more = (-(-n // repeats) * repeats for n in (seen, control.spec.epochs))  # repeats come in whole rounds
    views = replace(control.views, count=first + more)
    return replace(control, views=views, first=first, what=f"views beyond the {seen} that it was trained on")


def _longer(control: Trial) -> Trial:
    return replace(control, spec=_with(control.spec, epochs=2 * control.spec.epochs), what="twice the epochs")


def _wider_head(control: Trial) -> Trial:
    wide = widened(control.student)
    width = wide.architecture["head_width"]
    return replace(control, student=wide, spec=_with(control.spec, head_width=width), what=f"head_width {width}")


def _larger_input(control: Trial) -> Trial:
    size = 32 * -int(-LARGER * control.spec.size // 32)
    return replace(control, spec=_with(control.spec, size=size), what=f"size {size}, from {control.spec.size}")


CHANGES: dict[str, Callable[[Trial], Trial]] = {
    "views": _more_views,
    "schedule": _longer,
    "head": _wider_head,
    "size": _larger_input,
}
"""Changes by name, after the recipe's part that they are about. One that a student cannot take is an `InputError`."""


def _with(spec: DistillSpec, **values: Any) -> DistillSpec:
    return spec.model_copy(update=values)


def _tried(name: str, trial: Trial, right: np.ndarray, control: np.ndarray, level: float) -> Tried:
    difference = right.astype(int) - control.astype(int)
    return Tried(name, trial.what, float(right.mean()), float(difference.mean()), *paired_interval(difference, level))


def _right(
    name: str, trial: Trial, student: Bundle, photos: Photos, output: Path, teacher: Bundle | None, cache: Path
) -> np.ndarray:
    """On which validation photos the student is right after a trial, bool (images,); read if it was computed before."""
    taught = teacher.fingerprint if teacher else None
    identity = [student.fingerprint, identity_of(photos), taught, name, trial.views.to_json(), trial.first]
    key = digest_of([identity, trial.spec.model_dump(mode="json"), version("torch")])
    stored = output / f"{name}.json"
    if stored.is_file() and (earlier := read_json(stored)).get("key") == key:
        return np.array(earlier["right"], dtype=bool)
    preprocessing = replace(student.preprocessing, size=trial.spec.size)
    task = Task(
        photos,
        trial.spec,
        preprocessing,
        trial.views,
        teacher,
        cache,
        seed=0,
        checkpoint=output / f"{name}.training.pt",
        identity=identity,
        title=f"Trial of {name}",
        first=trial.first,
    )
    fitted = fit(copy.deepcopy(trial.student), task).student  # several trials start from it
    answers = predict_batches(fitted.to(torch_device()), Pixels(photos.val, preprocessing), title=f"Evaluating {name}")
    right = most_probable(answers).best == labels_of(photos.val)
    write_json(stored, {"key": key, "right": right.astype(int).tolist()})
    discard(task.checkpoint)
    return right
