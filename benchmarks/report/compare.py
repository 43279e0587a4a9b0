"""Teacher, student and every exported file on the same validation photos: what was gained, what was given up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from attar import __version__
from attar.answers import Answers
from attar.benchmarks.latency import record
from attar.benchmarks.latency.host import describe
from attar.benchmarks.latency.measure import check_unchanged
from attar.benchmarks.latency.record import Record
from attar.benchmarks.report.comparison import Choice, Comparison, Device, Interval, Kind, Needs, Row
from attar.benchmarks.report.devices import devices_of, host_of, kind_of
from attar.benchmarks.report.per_class import class_rows, every_class
from attar.benchmarks.report.predictions import FOLDER, Predictions
from attar.benchmarks.report.recommend import choose
from attar.benchmarks.report.sensitivity import sensitivity_of
from attar.bundle import Bundle, as_bundle
from attar.data.photos import Photo, Photos, labels_of
from attar.data.pixels import Images, Pixels
from attar.errors import InputError
from attar.export.formats import FORMATS
from attar.extras import OPTIONAL, version
from attar.files import size
from attar.hierarchy import Level
from attar.metrics import bootstrap_interval, correct, error_of_confidence, reliability_of
from attar.readiness import Readiness, judged, majority
from attar.sampling import spread
from attar.temperature import at_temperatures, cross_fitted

BINS = 15

_PACKAGES = ("torch", "timm", "numpy", *(item.distribution for item in OPTIONAL))


@dataclass(frozen=True)
class _Answers:
    """A model or file, and what it answered on the photos."""

    name: str
    kind: Kind
    about: str
    bytes: int
    answers: Answers
    evaluator: str
    entry: Any = None


def compare(
    exports: Path | str,
    *,
    bundle: Bundle | Path | str,
    teacher: Bundle | Path | str | None = None,
    photos: Photos,
    output: Path | str | None = None,
    records: Iterable[Record] | None = None,
    limit: int | None = None,
    needs: Needs | None = None,
) -> Comparison:
    """Run teacher, student and every verified file on the validation photos.

    Args:
        exports: folder with a manifest.json.
        bundle: the student that the files were made from.
        teacher: its teacher; without one there is no agreement and there are no examples.
        photos: the data set; labels must be the student's.
        output: folder that holds benchmarks.jsonl and the stored predictions; by default the one
            around `exports`.
        records: latency records instead of those in `output`.
        limit: take this many validation photos, evenly spread, instead of all.
        needs: what the file to take has to meet.

    Raises:
        InputError: no manifest, no verified file, a file that changed since it was verified, or models,
            files and photos that do not belong together.
    """
    from attar.export.manifest import read_manifest

    exports = Path(exports)
    output = Path(output) if output else exports.resolve().parent
    student = as_bundle(bundle, "student")
    teacher = as_bundle(teacher, "teacher") if teacher else None
    manifest = read_manifest(exports)
    _refuse_strangers(exports, manifest, student, teacher, photos)
    chosen = _chosen(photos.val, limit)
    labels = labels_of(chosen)
    answers = _answers(exports, manifest, student, teacher, photos, chosen, Predictions(output / FOLDER))
    measured = list(records) if records is not None else record.read(output)
    digests = {item.entry.sha256: item.name for item in answers if item.entry}
    calibrated = "calibration" in student.metrics
    rows = tuple(_row(item, answers, labels, len(photos.labels), calibrated, manifest.levels) for item in answers)
    devices = devices_of(measured, digests, rows, needs, len(chosen))
    rows = _timed(rows, host_of(devices))
    choice = devices[0].choice if devices else choose(rows, needs, len(chosen))
    compared = _compared(rows, choice)
    found = {item.name: item.answers for item in answers}
    return Comparison(
        title=f"{student.name} from {teacher.name}" if teacher else student.name,
        rows=rows,
        classes=len(photos.labels),
        images=len(chosen),
        choice=choice,
        compared=compared,
        changes=class_rows(
            found, compared, labels, photos.labels, chosen, [photo_name(photo.shown, photos) for photo in chosen]
        ),
        failed=tuple({"target": f.target, "error": f.error} for f in manifest.failed),
        set_aside=tuple({"photo": photo_name(item.path, photos), "reason": item.reason} for item in photos.set_aside),
        notes=_notes(photos, chosen, student, teacher),
        provenance=_provenance(student, teacher, photos, measured, rows),
        needs=needs or Needs(),
        devices=devices,
        sensitivity=sensitivity_of(manifest.files, student, output),
        readiness=_readiness(rows, student, [photos.labels[label] for label in labels]),
        every_class=every_class(found, compared[1], labels, photos.labels),
        levels=tuple(len(level.names) for level in manifest.levels),
    )


def _readiness(rows: Sequence[Row], student: Bundle, labels: Sequence[str]) -> Readiness:
    """The student judged by its answers here, and by what its bundle says of its training."""
    here = {
        row.name: {
            "images": len(labels),
            "top1": row.top1.value,
            "top1_interval": [row.top1.low, row.top1.high],
            "majority": majority(labels),
        }
        for row in rows
        if row.kind != "file"
    }
    return judged({**student.metrics, **here["student"]}, here.get("teacher"))


def _chosen(photos: Sequence[Photo], limit: int | None) -> tuple[Photo, ...]:
    """All photos, or `limit` of them."""
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: must be at least 1.")
    return tuple(spread(photos, len(photos) if limit is None else limit))


# --- answers -------------------------------------------------------------------------------------


def _refuse_strangers(exports: Path, manifest: Any, student: Bundle, teacher: Bundle | None, photos: Photos) -> None:
    if not manifest.files:
        raise InputError(f"{exports}: no verified file to compare. Export some with `attar export`.")
    if manifest.bundle["fingerprint"] != student.fingerprint:
        raise InputError(f"{exports}: made from another student than {student.path}. Export that student again.")
    for bundle in (student, teacher):
        if bundle is not None and bundle.labels != photos.labels:
            raise InputError(
                f"{bundle.path}: its {len(bundle.labels)} classes are not those {len(photos.labels)} of "
                f"{photos.spec.path}. Give the photos that the {bundle.kind} was made from."
            )


def _answers(
    exports: Path,
    manifest: Any,
    student: Bundle,
    teacher: Bundle | None,
    photos: Photos,
    chosen: Sequence[Photo],
    store: Predictions,
) -> list[_Answers]:
    shape = (len(chosen), len(photos.labels))
    data = [photos.fingerprint, shape[0]]
    pixels = _DecodedOnce(chosen)
    answers = []
    for bundle in filter(None, (teacher, student)):
        identity = [bundle.fingerprint, *data, version("torch")]
        found = store.get(identity, shape, lambda b=bundle: predict_bundle(b, pixels(b)))  # type: ignore[misc]
        weights = size(bundle.path / "model.safetensors")
        answers.append(_Answers(bundle.kind, bundle.kind, bundle.name, weights, found, f"PyTorch {version('torch')}"))
    for entry in manifest.files:
        check_unchanged(exports, entry)
        package = FORMATS[str(entry.target).partition(":")[0]].evaluator
        identity = [entry.sha256, *data, student.preprocessing.to_json(), package, version(package) if package else ""]
        path = exports / entry.file
        found = store.get(identity, shape, lambda p=path: _predict_file(p, pixels(student)))  # type: ignore[misc]
        evaluator = str(entry.verification["evaluator"])
        answers.append(_Answers(str(entry.target), "file", entry.file, entry.bytes, found, evaluator, entry))
    return answers


class _DecodedOnce:
    """The photos' pixels for each preprocessing; models that share one share them."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._photos = photos
        self._known: dict[Any, Pixels] = {}

    def __call__(self, bundle: Bundle) -> Pixels:
        preprocessing = bundle.preprocessing
        if preprocessing not in self._known:
            self._known[preprocessing] = Pixels(self._photos, preprocessing, "Reading validation photos")
        return self._known[preprocessing]


def predict_bundle(bundle: Bundle, pixels: Images) -> Iterator[np.ndarray]:
    """A teacher's or student's probabilities, float32 (n, classes) at a time, for uint8 images of its own size."""
    from attar import students, teachers
    from attar.inference import predict_batches

    model = teachers.load(bundle) if bundle.kind == "teacher" else students.load(bundle)
    return predict_batches(model, pixels, title=f"{bundle.kind.capitalize()} {bundle.name}")


def _predict_file(path: Path, pixels: Images) -> Iterator[np.ndarray]:
    from attar.console import track
    from attar.export.runners import open_runner

    runner = open_runner(path)
    starts = range(0, len(pixels), 64)
    for start in track(starts, path.name, len(starts)):
        yield runner.predict(pixels[start : start + 64])


# --- figures -------------------------------------------------------------------------------------


def _row(
    item: _Answers,
    answers: Sequence[_Answers],
    labels: np.ndarray,
    classes: int,
    calibrated: bool,
    levels: Sequence[Level] = (),
) -> Row:
    student = next(a for a in answers if a.kind == "student")
    teacher = next((a for a in answers if a.kind == "teacher"), None)
    probabilities, places = item.answers.probabilities, item.answers.places(labels)
    right = (places == 0).astype(float)
    confidence = _confidence(item, right) if calibrated and item.kind != "teacher" else item.answers.confidence
    difference = None if item is student else _interval(right - (student.answers.places(labels) == 0))
    return Row(
        name=item.name,
        kind=item.kind,
        about=item.about,
        bytes=item.bytes,
        top1=_interval(right),
        top5=_interval(correct(probabilities, places, 5)) if classes >= 6 else None,
        difference=difference,
        agreement=float((item.answers.best == teacher.answers.best).mean()) if teacher else None,
        ece=error_of_confidence(confidence, right == 1, BINS),
        reliability=reliability_of(confidence, right == 1),
        latency=None,
        latency_note=_why_untimed(item),
        partitions=item.entry.partitions if item.entry else None,
        evaluator=item.evaluator,
        min_runtime=item.entry.min_runtime if item.entry else None,
        opinions=_opinions(item.entry),
        recovery=item.entry.recovery if item.entry else None,
        groups=tuple(_interval(_in_group(level, item.answers.best, labels)) for level in levels),
    )


def _in_group(level: Level, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each photo's answer is in its label's group, 0.0 or 1.0 (images,)."""
    of = np.array(level.of)
    return (of[answers] == of[labels]).astype(float)


def _confidence(item: _Answers, right: np.ndarray) -> np.ndarray:
    """A calibrated model's: its temperature was fitted on these photos, so each photo gets one fitted on others."""
    assert item.answers.sums is not None
    return cross_fitted(at_temperatures(item.answers.confidence, item.answers.sums), right == 1)


def _opinions(entry: Any) -> tuple[str, ...]:
    """The evaluators that agreed with the first on a file when it was verified."""
    opinions = entry.verification.get("second_opinions", {}) if entry else {}
    return tuple(str(opinion["evaluator"]) for opinion in opinions.values())


def _interval(values: np.ndarray) -> Interval:
    low, high = bootstrap_interval(values)
    return Interval(float(np.mean(values)), low, high)


def _timed(rows: Sequence[Row], host: Device | None) -> tuple[Row, ...]:
    """The rows with what they take on this machine."""
    best = {row.name: host.best(row.name) if host else None for row in rows}
    return tuple(
        replace(row, latency=timed.latency, latency_note="") if (timed := best[row.name]) else row for row in rows
    )


def _compared(rows: Sequence[Row], choice: Choice) -> tuple[str, str]:
    """The rows whose classes are compared: the teacher, or without one the student, and the file to take."""
    files = [row.name for row in rows if row.kind == "file"]
    reference = "teacher" if any(row.kind == "teacher" for row in rows) else "student"
    fallback = "student" if reference == "teacher" else files[0]
    return reference, choice.target or fallback


def _why_untimed(item: _Answers) -> str:
    if item.kind != "file":
        return "models are timed as exported files only"
    format = item.name.partition(":")[0]
    return FORMATS[format].untimed or "not measured: no record of a file with this content; run `attar bench`"


# --- where it comes from -------------------------------------------------------------------------


def photo_name(path: Path, photos: Photos) -> str:
    """A photo as the data set names it, wherever it lies on this machine."""
    root = photos.root
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _notes(photos: Photos, chosen: Sequence[Photo], student: Bundle, teacher: Bundle | None) -> tuple[str, ...]:
    notes = []
    if calibration := student.metrics.get("calibration"):
        notes.append(
            f"The student's confidence was calibrated on {calibration['images']} validation photos: its logits were "
            f"divided by {calibration['temperature']:.2f}. Its calibration error (ECE) was "
            f"{100 * calibration['before']:.1f}% before and is {100 * calibration['after']:.1f}%. Each photo's "
            "confidence counts at a temperature that was fitted to the others."
        )
    if len(chosen) < len(photos.val):
        notes.append(f"Measured on {len(chosen)} of {len(photos.val)} validation photos, evenly spread.")
    if len(photos.labels) < 6:
        notes.append(f"No top-5: with {len(photos.labels)} classes almost any answer is among five.")
    if teacher is None:
        notes.append(
            "No teacher was given, so there is no agreement with it, and classes are held against the student."
        )
    return tuple(notes)


def _provenance(
    student: Bundle, teacher: Bundle | None, photos: Photos, records: Sequence[Record], rows: Sequence[Row]
) -> dict[str, Any]:
    measured = {row.latency.measured for row in rows if row.latency}
    here = [r for r in records if kind_of(r.device) == record.HOST]
    timed_on = next((r.device for r in reversed(here) if r.measured in measured), None)
    return {
        "attar": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"fingerprint": photos.fingerprint, "split_seed": photos.spec.seed, "val": len(photos.val)},
        "student": {"name": student.name, "fingerprint": student.fingerprint, "seed": student.provenance.get("seed")},
        "teacher": teacher
        and {"name": teacher.name, "fingerprint": teacher.fingerprint, "seed": teacher.provenance.get("seed")},
        "preprocessing": student.preprocessing.to_json(),
        "packages": {name: installed for name in _PACKAGES if (installed := version(name))},
        "compared_on": describe(),
        "timed_on": timed_on,
    }
