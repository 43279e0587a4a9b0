"""Proving a file: whole, labelled as its student, and computing what its student computes on real photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import students
from attar.bundle import Bundle
from attar.data import Photo, Photos, labels_of, load_pixels
from attar.errors import AttarError, GateError, InputError
from attar.extras import OPTIONAL, version
from attar.files import digest_of, sha256, size
from attar.inference import predict
from attar.metrics import agreement, top_k
from export.manifest import FailedEntry, FileEntry, Manifest, read_manifest, write_manifest
from export.runner import open_runner
from export.targets import Target, parse_targets


@dataclass(frozen=True)
class Limits:
    """How far a file's probabilities may be from its student's before it counts as another model.

    Attributes:
        max_abs: largest difference of any probability of any photo.
        mean_abs: mean over photos of the largest difference in each.
        agreement: least share of photos with the same top-1, on photos where the student is not torn: see `TORN`.
    """

    max_abs: float
    mean_abs: float
    agreement: float


LIMITS = {
    # Only the order of float additions differs.
    "fp32": Limits(1e-3, 1e-4, 1.0),
    # 11 bits of precision, through some fifty layers.
    "fp16": Limits(5e-2, 1e-2, 0.99),
    # Eight bits of weights, and of activations: single photos near a boundary may move far, most must not.
    "w8": Limits(0.5, 5e-2, 0.97),
    "int8": Limits(1.0, 0.1, 0.95),
    "int8+fp": Limits(1.0, 0.1, 0.95),
    # Sixteen values a table: the accuracy gate (`max_drop`) decides, these catch a wrong file.
    "lut4": Limits(1.0, 0.2, 0.9),
}

TORN = 0.1
"""A photo whose two most probable classes are nearer than this may flip by rounding alone: not counted in the
agreement gate (the reported agreement counts every photo)."""


@dataclass(frozen=True)
class Reference:
    """The student's own answers on real photos: what files are held against."""

    bundle: Bundle
    pixels: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


def reference(bundle: Bundle, photos: Photos, limit: int) -> Reference:
    """Run the student on up to `limit` validation photos, evenly spread over them."""
    if photos.labels != bundle.labels:
        raise InputError(
            f"{photos.spec.path}: its classes are not those of {bundle.path}. Give the student's own photos."
        )
    chosen = spread(photos.val, limit)
    pixels = load_pixels(chosen, bundle.preprocessing, "Reading validation photos")
    return Reference(bundle, pixels, labels_of(chosen), predict(students.load(bundle), pixels, title="Student"))


def spread(photos: Sequence[Photo], limit: int) -> list[Photo]:
    """At most `limit` photos, evenly spread, in order."""
    if len(photos) <= limit:
        return list(photos)
    return [photos[i] for i in np.linspace(0, len(photos) - 1, limit).round().astype(int)]


def check(path: Path, target: Target, known: Reference, max_drop: float) -> FileEntry:
    """Run a file on the reference photos and hold it against the student.

    Raises:
        GateError: it does not load, carries other labels, takes another input, or diverges; the text says how.
    """
    try:
        runner = open_runner(path)
        if runner.labels != known.bundle.labels:
            raise GateError(f"its labels are not the student's ({_difference(runner.labels, known.bundle.labels)})")
        found = runner.predict(known.pixels)
    except GateError:
        raise
    except Exception as error:  # runtimes raise anything on a damaged file
        raise GateError(f"it does not run: {error}") from error
    measured = measure(found, known)
    _gate(measured, LIMITS[target.precision], max_drop)
    return FileEntry(
        target=str(target), file=path.name, sha256=sha256(path), bytes=size(path), signature=runner.signature,
        labels_sha256=digest_of(list(runner.labels)), partitions=runner.partitions,
        verification={**measured, "evaluator": runner.evaluator, "max_drop": max_drop, "passed": True},
        versions={item.distribution: version(item.distribution) for item in OPTIONAL if item.extra == target.format},
    )  # fmt: skip


def measure(found: np.ndarray, known: Reference) -> dict[str, Any]:
    """How a file's probabilities differ from its student's, as plain data."""
    expected = known.probabilities
    if found.shape != expected.shape:
        raise GateError(f"its output has shape {found.shape}, not {expected.shape}")
    if not np.isfinite(found).all():
        raise GateError("its output has values that are not finite")
    error = np.abs(found - expected)
    cosine = (found * expected).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1) + 1e-12)
    two = np.sort(expected, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] >= TORN
    return {
        "images": len(expected),
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.max(1).mean()),
        "min_cosine": float(cosine.min()),
        "agreement": agreement(found, expected),
        "clear_agreement": agreement(found[clear], expected[clear]) if clear.any() else 1.0,
        "top1": top_k(found, known.labels),
        "student_top1": top_k(expected, known.labels),
    }


def verify(exports: Path, *, bundle: Bundle, photos: Photos, max_drop: float = 1.0, limit: int = 1000) -> Manifest:
    """Prove every file of an exports folder again, and write what was found into its manifest.

    A file that fails stays on disk for a look, but no longer stands among the good ones.

    Raises:
        InputError: no manifest, or the exports belong to another bundle.
        GateError: at least one file failed; the text names each, and why.
    """
    exports = Path(exports)
    manifest = read_manifest(exports)
    if manifest.bundle["fingerprint"] != bundle.fingerprint:
        raise InputError(f"{exports}: made from another student than {bundle.path}. Export again, or give --bundle.")
    known = reference(bundle, photos, limit)
    before = [(entry.target, entry.file, entry.sha256) for entry in manifest.files]
    recoveries = {entry.target: entry.recovery for entry in manifest.files}
    failures = [f"{failed.target}: {failed.error}" for failed in manifest.failed]
    for name, file, digest in before:
        try:
            _whole(exports / file, digest)
            entry = check(exports / file, parse_targets([name])[0], known, max_drop)
            manifest = manifest.with_file(replace(entry, recovery=recoveries[name]))
        except AttarError as error:
            manifest = manifest.with_failure(FailedEntry(name, f"{file}: {error}"))
            failures.append(f"{name}: {file}: {error}")
    write_manifest(manifest, exports)
    if failures:
        raise GateError(
            f"{exports}: {len(failures)} of {len(before) + len(failures)} failed:\n  " + "\n  ".join(failures)
        )
    return manifest


def _whole(path: Path, digest: str) -> None:
    if not path.exists():
        raise GateError("the file is missing")
    if sha256(path) != digest:
        raise GateError("its content changed since it was verified (SHA-256 differs). Export it again")


def _gate(measured: dict[str, Any], limits: Limits, max_drop: float) -> None:
    drop = 100 * (measured["student_top1"] - measured["top1"])
    problems = []
    if measured["max_abs_error"] > limits.max_abs:
        problems.append(f"a probability is off by {measured['max_abs_error']:.4f} (limit {limits.max_abs})")
    if measured["mean_abs_error"] > limits.mean_abs:
        problems.append(
            f"probabilities are off by {measured['mean_abs_error']:.4f} on average (limit {limits.mean_abs})"
        )
    if measured["clear_agreement"] < limits.agreement:
        problems.append(
            f"it agrees with its student on {100 * measured['clear_agreement']:.1f}% of the clear photos "
            f"(limit {100 * limits.agreement:.0f}%)"
        )
    if drop > max_drop + 1e-9:
        problems.append(f"it loses {drop:.2f} points of top-1 (limit {max_drop}, see --max-drop)")
    if problems:
        raise GateError("it diverges from its student: " + "; ".join(problems))


def _difference(found: Sequence[str], expected: Sequence[str]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} of them, not {len(expected)}"
    i = next(i for i, (a, b) in enumerate(zip(found, expected)) if a != b)
    return f"number {i} is {found[i]!r}, not {expected[i]!r}"
