"""What one retraining learns from, written down once: a run that was interrupted goes on with the same photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from attar.bundle import read_bundle
from attar.data.photos import Photos, read_photos
from attar.deploy.collect.store import opened
from attar.deploy.retrain.gather import Gathered, Rules, gather
from attar.deploy.retrain.opinion import keeps_teacher
from attar.deploy.retrain.snapshot import write_snapshot
from attar.errors import InputError
from attar.files import make_folder, read_sealed, write_sealed
from attar.provenance import data_of
from attar.runfolder import RunFolder

TeacherChoice = Literal["auto", "keep", "refit"]


@dataclass(frozen=True)
class Plan:
    """What is learned from, and how.

    Attributes:
        told: `Gathered.to_json`, with `asked` and `teacher`.
        keep_teacher: whether the earlier run's teacher is taken as it is.
        why: of that, a sentence.
        resumed: whether an earlier command made this plan.
    """

    told: dict[str, Any]
    keep_teacher: bool
    why: str
    resumed: bool = False


def plan(
    run: RunFolder,
    observations: Path,
    output: RunFolder,
    rules: Rules,
    *,
    teacher: TeacherChoice = "auto",
    dry_run: bool = False,
) -> Plan:
    """Choose what is learned from, ask reviewers about what is doubted, and write the photos into `output`.

    Args:
        run: a finished run, which is gone on from.
        observations: the folder that `attar collect` keeps.
        output: the new run's folder.
        rules: what may be learned from.
        teacher: whether the run's teacher is kept; `auto`: by how well it answers the new photos.
        dry_run: write nothing, neither the photos nor the doubts.

    Raises:
        InputError: no such run or folder, nothing new to learn from, or `output` holds something else.
    """
    student = read_bundle(run.student, "student")
    asked = {
        "run": student.fingerprint,
        "observations": str(observations.resolve()),
        "rules": rules.to_json(),
        "teacher": teacher,
    }
    if output.retrain.is_file():
        return _resumed(output, asked)
    if output.path.resolve() == run.path.resolve() or (output.path / "run.json").is_file():
        raise InputError(f"{output.path}: holds another run. Choose another --output.")
    photos = _photos_of(run, student.provenance)
    with opened(observations) as store:
        spec = photos.spec
        found = gather(store, run, photos, rules, val_fraction=spec.val_fraction, seed=spec.seed)
        if not dry_run and found.opinion:
            for id, reason in found.opinion.doubts.items():
                store.doubt(id, reason)
    if not found.new and not found.gone:
        raise InputError(f"{observations}: nothing new to learn from{_reasons(found)}.")
    keep, why = _teacher(run, photos, found, teacher)
    told = {**found.to_json(), "asked": asked, "teacher": {"kept": keep, "why": why}}
    if not dry_run:
        _write(output, found, told)
    return Plan(told, keep, why)


def _photos_of(run: RunFolder, provenance: dict[str, Any]) -> Photos:
    spec = data_of(provenance)
    if not run.photos.is_file():
        raise InputError(
            f"{run.path}: kept no list of its photos, so nobody knows which were held out. Run it anew with this "
            "version."
        )
    added = str(run.observations) if spec.added and not Path(spec.added).exists() else spec.added
    return read_photos(replace(spec, keep=str(run.photos), added=added))


def _resumed(output: RunFolder, asked: dict[str, Any]) -> Plan:
    told = read_sealed(output.retrain)
    differing = next((key for key in asked if told.get("asked", {}).get(key) != asked[key]), None)
    if differing:
        raise InputError(
            f"{output.path}: holds a retraining with {_SAID[differing]}. Choose another --output, or remove the folder."
        )
    return Plan(told, told["teacher"]["kept"], told["teacher"]["why"], resumed=True)


_SAID = {
    "run": "another earlier run",
    "observations": "other observations",
    "rules": "other rules (--without, --unreviewed, --new-class or --share)",
    "teacher": "another --teacher",
}


def _teacher(run: RunFolder, photos: Photos, found: Gathered, choice: TeacherChoice) -> tuple[bool, str]:
    if not (run.teacher / "bundle.json").is_file():
        return False, ""
    same = {each.candidate.label for each in found.used} <= set(photos.labels)
    if choice == "refit":
        return False, "The teacher is fitted anew, as asked."
    if choice == "keep":
        if not same:
            raise InputError("--teacher keep: there are new classes, which the teacher does not know. Leave it out.")
        return True, "The teacher is kept, as asked."
    if found.opinion is None:
        return True, "The teacher is kept: there are no new photos."
    return keeps_teacher(found.opinion, same)


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
            write_sealed(output.retrain, told)
    except Timeout:
        raise InputError(f"{output.path}: another attar is running in this folder. Wait for it to end.") from None
