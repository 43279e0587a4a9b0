"""Writing files: each converted, run on real photos, and listed only if it computes what its student does.

Nothing here loads torch before there is something to make: asking again for what is there answers at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from attar import __version__
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.photos import Photos, load_pixels
from attar.errors import AttarError, GateError, InputError, MissingExtra
from attar.export.decision import PRECISION, check_precision
from attar.export.folder import Folder
from attar.export.formats import FORMATS
from attar.export.guide import write_guide
from attar.export.limits import Limits
from attar.export.manifest import FileEntry, Manifest
from attar.export.supervisor import Supervisor
from attar.export.targets import Target, choose_targets
from attar.export.worker import OPTIONAL, Job, save_arrays
from attar.files import digest_of, make_folder, scratch
from attar.hierarchy import Level, read_levels
from attar.quality import PHOTOS, measured, range_of
from attar.sampling import spread

CALIBRATION = 200
"""Training photos that int8 ranges are taken from, evenly spread over them."""

BATCH = 8
"""Fewer calibration images than this say too little about ranges."""


def export_student(
    bundle: Bundle | Path | str,
    targets: Sequence[str],
    output: Path | str,
    *,
    photos: Photos,
    calibration: np.ndarray | None = None,
    max_drop: float = 1.0,
    precision: float = PRECISION,
    hierarchy: Path | str | None = None,
    limit: int = 1000,
    force: bool = False,
    limits: Limits | None = None,
    author: str | None = None,
    license: str | None = None,
) -> Manifest:
    """Convert a student to `targets`, verify each file, and list the good ones in `output`'s manifest.

    Each target is made in a process of its own. A good file that is there, made from the same student and photos
    by the same versions and options, is not made again; one that cannot be made anew stays as it is.

    Args:
        bundle: the student.
        targets: names such as `litert:int8`, or `all`, or `litert:all`.
        output: the exports folder. Good files of other targets in it stay.
        photos: the student's photos: int8 is calibrated on training ones, all is verified on validation ones.
        calibration: uint8 images (N, size, size, 3) to calibrate on, instead of training photos.
        max_drop: points of top-1 that a file may lose against its student.
        precision: share of right answers among those that a file is sure of, see `attar.export.decision`.
        hierarchy: of the labels, as `attar.hierarchy.read_levels` takes it: groups are named where no label is sure.
        limit: validation photos to verify on, at most.
        force: replace exports of another student.
        limits: time and memory of each target's process, and how many work at a time.
        author, license: whose model it is, and under what terms: written into every file and the model card. By
            default what the bundle's provenance says.

    Raises:
        InputError: an unknown target, a missing package, an output folder of another student, bad images or labels.
        GateError: at least one target failed; it has no new file, and the others are good.
    """
    student = bundle if isinstance(bundle, Bundle) else read_bundle(bundle, "student")
    terms = {key: value for key, value in (("author", author), ("license", license)) if value is not None}
    student = replace(student, provenance={**student.provenance, **terms})
    check_precision(precision)
    chosen, left_out = choose_targets(targets)
    for name, reason in left_out.items():
        say(f"{name}: left out. {reason}")
    _check(student, photos, calibration, chosen)
    levels = read_levels(hierarchy, student.labels) if hierarchy else ()
    folder = Folder(Path(output), student, photos, force)
    folder.describe(hierarchy=[level.to_json() for level in levels] or None)
    keys = _keys(chosen, student, photos, calibration, max_drop, limit, precision, levels)
    wanted = [target for target in chosen if not folder.has(target, keys[target])]
    failures: dict[Target, AttarError] = {}
    if wanted:
        with _work_space(folder.path) as (space, staging), _supervisor(limits, wanted, space) as supervisor:
            _prepare(space, student, photos, calibration, limit, levels)
            folder.describe(quality=range_of(measured(spread(photos.train, PHOTOS), student.preprocessing)))
            job = Job(student, tuple(_interleaved(wanted)), dict(FORMATS), space, staging, max_drop, precision)
            for target, result in supervisor.make(job):
                if isinstance(result, FileEntry):
                    folder.put(staging / target.file, replace(result, key=keys[target]))
                elif isinstance(result, MissingExtra) and str(target) not in targets:
                    say(f"{target}: left out. {result}")
                else:
                    failures[target] = result
                    if isinstance(result, GateError):
                        folder.fail(target, str(result))
    if folder.manifest.files:
        explained = write_guide(folder.manifest, folder.path, student, photos)
        if explained != folder.manifest:  # else nothing on disk is touched
            folder.write(explained)
    if failures:
        # A target that nothing but the input prevents has not failed a gate.
        kind = InputError if all(isinstance(error, InputError) for error in failures.values()) else GateError
        failed = "\n  ".join(f"{target}: {failures[target]}" for target in wanted if target in failures)
        raise kind(f"{output}: {len(failures)} of {len(chosen)} targets failed:\n  {failed}")
    return folder.manifest


def _supervisor(limits: Limits | None, wanted: Sequence[Target], space: Path) -> Supervisor:
    """Converters leave things in TMPDIR; here that is a folder that goes with the rest."""
    return Supervisor(limits or Limits(), len(wanted), space)


def _check(student: Bundle, photos: Photos, calibration: np.ndarray | None, targets: Sequence[Target]) -> None:
    """Refuse labels and images that do not fit the student."""
    classes, size = student.architecture["num_classes"], student.preprocessing.size
    if len(student.labels) != classes:
        raise InputError(f"{student.path}: {len(student.labels)} labels for a student of {classes} classes.")
    if calibration is not None and (calibration.dtype != np.uint8 or calibration.shape[1:] != (size, size, 3)):
        raise InputError(
            f"calibration: {calibration.dtype} images of shape {calibration.shape}, and the student takes uint8 images "
            f"of shape (N, {size}, {size}, 3). Use attar.data.photos.load_pixels with the student's preprocessing."
        )
    count = len(photos.train if calibration is None else calibration)
    if count < BATCH and any(target.calibrated for target in targets):
        raise InputError(
            f"{count} calibration images, and {next(str(t) for t in targets if t.calibrated)} takes its ranges from "
            f"at least {BATCH}. Add photos, or leave such targets out."
        )


def _keys(
    targets: Sequence[Target],
    student: Bundle,
    photos: Photos,
    calibration: np.ndarray | None,
    max_drop: float,
    limit: int,
    precision: float = PRECISION,
    levels: Sequence[Level] = (),
) -> dict[Target, str]:
    """What each target's file is made from and by, as a digest: the same key, the same file."""
    made_from = {
        "attar": __version__,
        "bundle": student.fingerprint,
        # Not of what it computes, but written into the files.
        "about": [student.provenance, student.metrics],
        "photos": photos.fingerprint,
        "calibration": CALIBRATION if calibration is None else hashlib.sha256(calibration.tobytes()).hexdigest(),
        "max_drop": float(max_drop),
        "limit": limit,
        "precision": precision,
        "hierarchy": [level.to_json() for level in levels],
    }
    return {target: digest_of([made_from, str(target), target.versions]) for target in targets}


def _prepare(
    space: Path,
    student: Bundle,
    photos: Photos,
    calibration: np.ndarray | None,
    limit: int,
    levels: Sequence[Level] = (),
) -> None:
    """Lay out what every target's process reads: the student's own answers, and calibration images."""
    from attar.export.verify import student_reference

    reference = student_reference(student, photos, limit)
    if calibration is None:
        calibration = load_pixels(spread(photos.train, CALIBRATION), student.preprocessing, "Reading training photos")
    save_arrays(
        space,
        pixels=reference.pixels,
        labels=reference.labels,
        probabilities=reference.probabilities,
        calibration=calibration,
        groups=np.array([level.of for level in levels], int),
        **{
            name: np.zeros(0) if (value := getattr(reference, name)) is None else value
            for name in OPTIONAL
            if name != "groups"
        },
    )


@contextmanager
def _work_space(output: Path) -> Iterator[tuple[Path, Path]]:
    """Two temporary folders inside `output`: for what processes tell each other, and for files in the making."""
    is_new = not output.exists()
    make_folder(output)
    try:
        with scratch(output) as folder:  # a killed export leaves it, and the next one removes it
            space, staging = folder / "work", folder / "files"
            for each in (space, staging):
                make_folder(each)
            yield space, staging
    finally:
        if is_new:
            with suppress(OSError):  # something good is in it
                output.rmdir()


def _interleaved(targets: Sequence[Target]) -> list[Target]:
    """Formats by turns: two targets of one format would wait for what they share."""
    seen: dict[str, int] = {}
    turns = []
    for target in targets:
        seen[target.format] = turn = seen.get(target.format, 0) + 1
        turns.append(turn)
    return [target for _, target in sorted(zip(turns, targets), key=lambda pair: pair[0])]
