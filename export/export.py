"""Writing files: each converted, run on real photos, and listed only if it computes what its student does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import students
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data import Photos, load_pixels
from attar.errors import GateError, InputError
from attar.files import digest_of, remove, sha256
from export.guide import remove_guide, write_guide
from export.make import make
from export.manifest import NAME, FailedEntry, Manifest, read_manifest, write_manifest
from export.targets import Target, parse_targets, require_targets
from export.verify import reference, spread

CALIBRATION = 200
"""Training photos that int8 ranges are taken from, evenly spread over them."""


def export(
    bundle: Bundle | Path | str,
    targets: Sequence[str],
    output: Path | str,
    *,
    photos: Photos,
    max_drop: float = 1.0,
    limit: int = 1000,
    force: bool = False,
) -> Manifest:
    """Convert a student to `targets`, verify each file, and list the good ones in `output`'s manifest.

    Args:
        bundle: the student.
        targets: names such as `litert:int8`.
        output: the exports folder. Good files of other targets in it stay; a file that is there,
            unchanged and as strictly verified, is not made again.
        photos: the student's photos: int8 is calibrated on training ones, all is verified on validation ones.
        max_drop: points of top-1 that a file may lose against its student.
        limit: validation photos to verify on, at most.
        force: replace exports of another student.

    Raises:
        InputError: an unknown target, a missing package, an output folder of another student.
        GateError: at least one target failed; it has no file, and the others are good.
    """
    student = bundle if isinstance(bundle, Bundle) else read_bundle(bundle, "student")
    chosen = parse_targets(targets)
    require_targets(chosen)
    output = Path(output)
    manifest = _manifest(student, photos, output, force)
    wanted = [target for target in chosen if not _is_there(manifest, target, output, max_drop)]
    failures = []
    if wanted:
        known = reference(student, photos, limit)
        calibration = load_pixels(spread(photos.train, CALIBRATION), student.preprocessing, "Reading training photos")
        model = students.load(student)
    for number, target in enumerate(wanted, start=1):
        say(f"  {number}/{len(wanted)} {target}")
        try:
            manifest = manifest.with_file(make(target, model, known, calibration, output, max_drop))
        except GateError as error:
            remove(output / target.file)
            manifest = manifest.with_failure(FailedEntry(str(target), str(error)))
            failures.append(f"{target}: {error}")
        write_manifest(manifest, output)
    manifest = write_guide(manifest, output, student, photos)
    write_manifest(manifest, output)
    if failures:
        raise GateError(f"{output}: {len(failures)} of {len(chosen)} targets failed:\n  " + "\n  ".join(failures))
    return manifest


def _manifest(student: Bundle, photos: Photos, output: Path, force: bool) -> Manifest:
    """The folder's manifest if it is this student's, else a new one."""
    fresh = Manifest(
        bundle={
            "path": _relative(student.path, output), "name": student.name, "fingerprint": student.fingerprint,
            "labels": list(student.labels), "labels_sha256": digest_of(list(student.labels)),
        },
        preprocessing=student.preprocessing.to_json(),
        data={"fingerprint": photos.fingerprint},
    )  # fmt: skip
    if (output / NAME).is_file():
        found = read_manifest(output)
        if found.bundle["fingerprint"] == student.fingerprint:
            return found
        if not force:
            raise InputError(
                f"{output}: holds exports of another student ({found.bundle['name']}). "
                "Choose another --output, or replace them with --force."
            )
        for entry in found.files:
            remove(output / entry.file)
        remove_guide(found, output)
    elif output.is_dir() and any(not item.name.startswith(".tmp-") for item in output.iterdir()):
        raise InputError(f"{output}: not empty, and holds no exports of attar. Choose another --output.")
    elif output.exists() and not output.is_dir():
        raise InputError(f"{output}: a file stands there. Choose another --output.")
    return fresh


def _is_there(manifest: Manifest, target: Target, output: Path, max_drop: float) -> bool:
    """Whether a target's good file is on disk, unchanged, and was verified no less strictly."""
    for entry in manifest.files:
        if entry.target == str(target) and entry.verification["max_drop"] <= max_drop:
            path = output / entry.file
            return path.exists() and sha256(path) == entry.sha256
    return False


def _relative(path: Path, start: Path) -> str:
    """Where the bundle is, seen from the exports folder, so that a run's folder can be moved."""
    import os

    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
