"""What one retraining learns from, written down once: a run that was interrupted goes on with the same photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from attar.bundle import read_bundle
from attar.data.photos import Photos, read_photos
from attar.deploy.collect.store import opened
from attar.deploy.retrain.gather import Gathered, Rules, gather
from attar.deploy.retrain.opinion import keeps_teacher
from attar.deploy.retrain.sides import TRAIN
from attar.deploy.retrain.snapshot import Used, write_snapshot
from attar.deploy.retrain.unlabelled import require_teacher_alone
from attar.errors import InputError
from attar.files import make_folder, read_sealed, remove, write_sealed
from attar.provenance import data_of
from attar.runfolder import RunFolder

TeacherChoice = Literal["auto", "keep", "refit"]


class NothingNew(InputError):
    """No observation that the run has not learned from already, and none to leave out."""

    def __init__(self, message: str, found: Gathered) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Plan:
    """What is learned from, and how.

    Attributes:
        told: `Gathered.to_json`, with `asked` and `teacher`.
        keep_teacher: whether the earlier run's teacher is taken as it is.
        why: of that, a sentence.
        found: the observations; None if an earlier command made this plan.
    """

    told: dict[str, Any]
    keep_teacher: bool
    why: str
    found: Gathered | None = None

    @property
    def ids(self) -> list[str]:
        """The observations that are learned from or held out."""
        return sorted([*self.told["train"], *self.told["val"]])

    @property
    def unlabelled(self) -> list[str]:
        """The observations that the student is shown without labels."""
        return list(self.told.get("unlabelled", ()))


def plan(
    run: RunFolder,
    observations: Path,
    output: RunFolder,
    rules: Rules,
    *,
    teacher: TeacherChoice = "auto",
    sets: Sequence[str] = (),
    dry_run: bool = False,
) -> Plan:
    """Choose what is learned from, ask reviewers about what is doubted, and write the photos into `output`.

    Args:
        run: a finished run, which is gone on from.
        observations: the folder that `attar collect` keeps.
        output: the new run's folder.
        rules: what may be learned from.
        teacher: whether the run's teacher is kept; `auto`: by how well it answers the new photos.
        sets: recipe keys that are set for the new run.
        dry_run: write nothing, neither the photos nor the doubts.

    Raises:
        NothingNew: there is nothing to do.
        InputError: no such run or folder, or `output` holds something else.
    """
    if made := resumed(run, observations, output, rules, teacher=teacher):
        return made
    if output.path.resolve() == run.path.resolve() or (output.path / "run.json").is_file():
        raise InputError(f"{output.path}: holds another run. Choose another --output.")
    try:
        made = look(run, observations, rules, teacher=teacher, sets=sets)
    except NothingNew as nothing:
        if not dry_run:
            ask_reviewers(nothing.found, observations)
        raise
    if not dry_run:
        write_plan(made, observations, output)
    return made


def look(
    run: RunFolder, observations: Path, rules: Rules, *, teacher: TeacherChoice = "auto", sets: Sequence[str] = ()
) -> Plan:
    """As `plan`, but nothing is written; see `write_plan`."""
    if rules.unlabelled:
        require_teacher_alone(run, sets)
    photos = photos_of_run(run)
    rules = _inherited(run, rules)
    with opened(observations) as store:
        spec = photos.spec
        found = gather(store, run, photos, rules, val_fraction=spec.val_fraction, seed=spec.seed)
    _refuse_loss(run, photos, found)
    if not (found.new or found.gone or found.relabelled):
        raise NothingNew(f"{observations}: nothing new to learn from{_reasons(found)}.", found)
    keep, why = _teacher(run, photos, found, teacher)
    told = {
        **found.to_json(),
        "asked": _asked(run, observations, rules, teacher),
        "teacher": {"kept": keep, "why": why},
    }
    return Plan(told, keep, why, found)


def resumed(
    run: RunFolder, observations: Path, output: RunFolder, rules: Rules, *, teacher: TeacherChoice = "auto"
) -> Plan | None:
    """The plan that an earlier command wrote into `output`, if it did.

    Raises:
        InputError: it was made from something else.
    """
    if not output.retrain.is_file():
        return None
    told, asked = read_sealed(output.retrain), _asked(run, observations, _inherited(run, rules), teacher)
    differing = next((key for key in asked if told.get("asked", {}).get(key) != asked[key]), None)
    if differing:
        raise InputError(
            f"{output.path}: holds a retraining with {_SAID[differing]}. Choose another --output, or remove the folder."
        )
    return Plan(told, told["teacher"]["kept"], told["teacher"]["why"])


def write_plan(made: Plan, observations: Path, output: RunFolder) -> None:
    """Write a plan that was looked at: the doubts to reviewers, the photos into the new run's folder."""
    assert made.found is not None
    ask_reviewers(made.found, observations)
    _write(output, made.found, made.told)


def ask_reviewers(found: Gathered, observations: Path) -> None:
    """Write the labels that are doubted into the store, for `attar review`."""
    with opened(observations) as store:
        if found.opinion is None:
            return
        for id, reason in found.opinion.doubts.items():
            store.doubt(id, reason)
        for each in found.opinion.renamed:
            new, _, known = each.detail.partition(": ")
            store.doubt(each.id, f"the new class {new} looks like {known}, which the model has")


def _asked(run: RunFolder, observations: Path, rules: Rules, teacher: TeacherChoice) -> dict[str, Any]:
    return {
        "run": read_bundle(run.student, "student").fingerprint,
        "observations": str(observations.resolve()),
        "rules": rules.to_json(),
        "teacher": teacher,
    }


def photos_of_run(run: RunFolder) -> Photos:
    """A run's photos as they are now, each on the side where the run had it.

    Raises:
        InputError: the run has no student, or kept no list of its photos.
    """
    spec = data_of(read_bundle(run.student, "student").provenance)
    if not run.photos.is_file():
        raise InputError(
            f"{run.path}: kept no list of its photos, so nobody knows which were held out. Run it anew with this "
            "version."
        )
    added = str(run.observations) if spec.added and not Path(spec.added).exists() else spec.added
    return read_photos(replace(spec, keep=str(run.photos), added=added))


_SAID = {
    "run": "another earlier run",
    "observations": "other observations",
    "rules": "other rules (--without, --unreviewed, --unlabelled, --new-class or --share)",
    "teacher": "another --teacher",
}


def _teacher(run: RunFolder, photos: Photos, found: Gathered, choice: TeacherChoice) -> tuple[bool, str]:
    if not (run.teacher / "bundle.json").is_file():
        return False, ""
    same = _labels(photos, found) == set(photos.labels)
    if choice == "refit":
        return False, "The teacher is fitted anew, as asked."
    if choice == "keep":
        if not same:
            raise InputError("--teacher keep: there are new classes, which the teacher does not know. Leave it out.")
        return True, "The teacher is kept, as asked."
    if same and (found.opinion is None or not found.opinion.asked):
        return True, "The teacher is kept: there are no new photos of its classes."
    return keeps_teacher(found.opinion, same)


def _labels(photos: Photos, found: Gathered) -> set[str]:
    """The classes that a training photo will show: of the run's own photos, and of people's."""
    own = {photos.labels[each.label] for each in photos.train if not photos.is_added(each)}
    return own | {each.candidate.label for each in found.used if each.side == TRAIN}


def _refuse_loss(run: RunFolder, photos: Photos, found: Gathered) -> None:
    """A class that phones know may not go because its observations were taken back."""
    lost = sorted(set(photos.labels) - _labels(photos, found))
    if lost:
        raise InputError(
            f"{run.path}: no training photo of its class {lost[0]!r} would be left"
            f"{f' (likewise of {len(lost) - 1} more)' if len(lost) > 1 else ''}. Go on from a run before it had the "
            "class, after `attar rollback` if it was published; or accept some of the observations again."
        )


def _inherited(run: RunFolder, rules: Rules) -> Rules:
    """The rules, and what was withdrawn in earlier rounds: it stays withdrawn."""
    if not run.retrain.is_file():
        return rules
    before = tuple(read_sealed(run.retrain)["asked"]["rules"]["without"])
    return replace(rules, without=tuple(sorted({*rules.without, *before})), before=before)


def _reasons(found: Gathered) -> str:
    counts: dict[str, int] = {}
    for each in found.left:
        counts[each.reason.value] = counts.get(each.reason.value, 0) + 1
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f" ({listed})" if listed else ""


def _write(output: RunFolder, found: Gathered, told: dict[str, Any]) -> None:
    make_folder(output.path)
    try:
        with FileLock(output.path / ".lock", timeout=0):
            if output.retrain.is_file() or (output.path / "run.json").is_file():
                raise InputError(f"{output.path}: another attar has just begun a run here. Choose another --output.")
            write_snapshot(output.observations, found.used)
            if found.unlabelled:
                write_snapshot(output.unlabelled, [Used(each, TRAIN) for each in found.unlabelled])
            else:
                remove(output.unlabelled)  # of a call that was killed before it wrote its plan
            write_sealed(output.retrain, told)
    except Timeout:
        raise InputError(f"{output.path}: another attar is running in this folder. Wait for it to end.") from None
