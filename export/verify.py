"""Proving a file: whole, labelled as its student, and computing what its student computes on real photos.

A format module may define `second_opinions(path) -> dict[str, Callable[[], Evaluator]]`: other evaluators that this
machine has, by name, each as what opens it. The same file must give the same answers in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy.stats import binom

from attar.bundle import Bundle, as_bundle
from attar.console import say
from attar.data.photos import Photos, labels_of, load_pixels
from attar.errors import AttarError, GateError, InputError, Unsupported
from attar.export import familiar
from attar.export.decision import PRECISION, commonness, decide, outcomes, prove
from attar.export.folder import readiness_of
from attar.export.formats import FORMATS, Tolerance
from attar.export.manifest import NAME, FailedEntry, FileEntry, Manifest, read_manifest, write_manifest
from attar.export.runners import Evaluator, open_runner
from attar.export.runners.answers import answers_of, split
from attar.export.targets import Target, parse_targets
from attar.files import digest_of, refuses_writing, sha256, size
from attar.metrics import RESOLVED, agreement, correct, paired_interval, top_k
from attar.sampling import spread

if TYPE_CHECKING:
    from attar.students import Student

T = TypeVar("T")


MIN_MARGIN = 0.1
"""A photo whose two most probable classes are nearer than this may flip by rounding alone: not counted in the
agreement gate (the reported agreement counts every photo)."""

ENOUGH = 5
"""The same of agreement: photos that may differ by the limit, from which on the share that is measured decides."""

CHANCE = 0.05
"""How often a file that keeps a limit may be refused, where few photos decide."""

OPINION_PHOTOS = 32
"""Photos, evenly spread, that a second evaluator is asked about: reference kernels take up to a second a photo."""

REVERIFY_TOLERANCE = 1.5, 1e-3
"""How much a file's mean error may grow between two verifications on the same photos: times the first, plus the second.
The same file on another processor's kernels stays within it, but for the integer ONNX files of attar 0.1: their
activations are unsigned, and ONNX Runtime's kernels for x86 without VNNI saturate those."""


@dataclass(frozen=True)
class Reference:
    """The student's own answers on real photos: what files are held against."""

    bundle: Bundle
    pixels: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    common: np.ndarray | None = None
    """Of each class, as `attar.export.decision.commonness` has it."""
    groups: np.ndarray | None = None
    """Of each level of a hierarchy, the number of each label's group, int (levels, classes)."""
    familiarity: np.ndarray | None = None
    """Of the photos, float (N,); None: the student has none."""
    strange: np.ndarray | None = None
    """Drawn pictures, uint8 (M, size, size, 3), that the familiarity should be low of."""
    strange_familiarity: np.ndarray | None = None
    """Of those, float (M,)."""


def student_reference(bundle: Bundle, photos: Photos, limit: int) -> Reference:
    """Run the student on up to `limit` validation photos, evenly spread over them."""
    from attar import students
    from attar.inference import predict

    if photos.labels != bundle.labels:
        raise InputError(
            f"{photos.spec.path}: its classes are not those of {bundle.path}. Give the student's own photos."
        )
    chosen = spread(photos.val, limit)
    pixels = load_pixels(chosen, bundle.preprocessing, "Reading validation photos")
    student = students.load(bundle)
    answers = predict(student, pixels, title="Student")
    counts = np.bincount(labels_of(photos.train), minlength=len(photos.labels))
    reference = Reference(bundle, pixels, labels_of(chosen), answers, commonness(counts))
    return with_familiarity(reference, student) if student.familiarity else reference


def with_familiarity(reference: Reference, student: Student) -> Reference:
    """The same with the student's familiarity of its photos, and of drawn pictures."""
    from attar.data.strange import PICTURES, pictures
    from attar.students.fit_familiarity import familiarity_of

    how = reference.bundle.preprocessing
    strange = np.stack([how(each) for name in PICTURES for each in pictures(name, familiar.PICTURES)])
    of_photos, of_strange = (familiarity_of(student, pixels) for pixels in (reference.pixels, strange))
    return replace(reference, familiarity=of_photos, strange=strange, strange_familiarity=of_strange)


def check(
    path: Path,
    target: Target,
    reference: Reference,
    max_drop: float,
    *,
    precision: float = PRECISION,
    decision: dict[str, Any] | None = None,
    also: Sequence[str] = (),
) -> FileEntry:
    """Run a file on the reference photos and hold it against the student.

    Args:
        path: the file.
        target: what it is meant to be.
        reference: the student's answers.
        max_drop: points of top-1 that it may lose.
        precision: of the answers that it is to be sure of, as `attar.export.decision.decide` takes it.
        decision: what was promised of its answers, which it is held against; None: it is fitted now.
        also: where to run it besides, if its format can: `arm`, `gpu`.

    Raises:
        GateError: it does not load, carries other labels, takes another input, diverges, or computes one thing in one
            evaluator and another in a second, or breaks a promise; the text says how.
    """
    if FORMATS[target.format].emulated:
        reference = _few_strange(_of(reference, _emulable(len(reference.pixels), reference.pixels.shape[1])))
    try:
        runner = open_runner(path)
        if runner.labels != reference.bundle.labels:
            raise GateError(f"its labels are not the student's ({_difference(runner.labels, reference.bundle.labels)})")
        stated = getattr(runner, "preprocessing", None)
        if stated and stated != reference.bundle.preprocessing.to_json():
            raise GateError(f"its preprocessing is not the student's ({stated})")
        answers = _answers(runner, reference)
    except GateError:
        raise
    except Exception as error:  # runtimes raise anything on a damaged file
        raise GateError(f"it does not run: {error}") from error
    photos = len(reference.pixels)
    outputs, familiarity = split(answers, len(reference.bundle.labels))
    measured = measure(outputs[:photos], reference)
    remark = _gate(measured, target.tolerance, max_drop)
    measured |= _familiarity(familiarity, reference)
    decision = _decision(decision, outputs[:photos], familiarity, reference, precision)
    opinions: dict[str, Any] = {}
    for name, open_evaluator in _evaluators(path, target, also).items():
        try:
            opinions[name] = opinion = _second(name, open_evaluator, target, reference, answers[:photos])
            more = opinion.pop("remark", "")
        except Unsupported as error:  # the file is right, and this device is not for it
            more = str(error)
        remark = "; ".join(filter(None, [remark, more]))
    min_runtime = getattr(target.module, "min_runtime", lambda path: None)
    return FileEntry(
        target=str(target),
        file=path.name,
        sha256=sha256(path),
        bytes=size(path),
        signature=runner.signature,
        labels_sha256=digest_of(list(runner.labels)),
        partitions=runner.partitions,
        min_runtime=min_runtime(path),
        verification={
            **measured,
            "evaluator": runner.evaluator,
            "max_drop": max_drop,
            "passed": True,
            "remark": remark,
            "second_opinions": opinions,
        },
        versions=target.versions,
        decision=decision,
    )


def _answers(runner: Evaluator, reference: Reference) -> np.ndarray:
    """What a file answers of the photos and then of the drawn pictures, if its student has a familiarity."""
    pixels = reference.pixels if reference.strange is None else np.concatenate([reference.pixels, reference.strange])
    return answers_of(runner, pixels)


def _familiarity(found: np.ndarray | None, reference: Reference) -> dict[str, Any]:
    """How a file's familiarity of the photos and then of the drawn pictures differs from its student's."""
    if (found is None) != (reference.familiarity is None):
        raise GateError(f"its student gives {'no' if found is not None else 'a'} familiarity, and it does otherwise")
    if found is None or reference.familiarity is None or reference.strange_familiarity is None:
        return {}
    of_photos, of_strange = np.split(found, [len(reference.pixels)])
    return {
        "familiarity": familiar.measure(of_photos, of_strange, reference.familiarity, reference.strange_familiarity)
    }


def _decision(
    promised: dict[str, Any] | None,
    outputs: np.ndarray,
    familiarity: np.ndarray | None,
    reference: Reference,
    precision: float,
) -> dict[str, Any]:
    """What an app may say of a file's answers: fitted to them, or what was promised, once they keep it."""
    parts = [] if familiarity is None else np.split(familiarity, [len(reference.pixels)])
    if promised is None:
        made = decide(outputs, reference.labels, reference.common, precision, reference.groups)
        return {**made, "familiar": familiar.fit(*parts)} if parts else made
    prove(promised, outcomes(promised, outputs, reference.labels, reference.common, reference.groups))
    if parts:
        familiar.prove(promised["familiar"], parts[0])
    return promised


def _emulable(images: int, size: int) -> list[int]:
    """The photos that an emulator is asked about, evenly spread: as many as take it about half a minute."""
    return spread(range(images), max(OPINION_PHOTOS, OPINION_PHOTOS * 224**2 // size**2))


def _few_strange(reference: Reference) -> Reference:
    """The reference with few drawn pictures, of each kind some."""
    if reference.strange is None or reference.strange_familiarity is None:
        return reference
    few = slice(None, None, familiar.PICTURES // 4)
    return replace(reference, strange=reference.strange[few], strange_familiarity=reference.strange_familiarity[few])


def _of(reference: Reference, photos: Sequence[int]) -> Reference:
    """The reference of some of its photos."""
    return replace(
        reference,
        pixels=reference.pixels[photos],
        labels=reference.labels[photos],
        probabilities=reference.probabilities[photos],
        familiarity=None if reference.familiarity is None else reference.familiarity[photos],
    )


def _evaluators(path: Path, target: Target, also: Sequence[str]) -> dict[str, Callable[[], Evaluator]]:
    """The other evaluators of a file, by name."""
    wanted = ["second_opinions", *(f"{where}_opinions" for where in also)]
    evaluators: dict[str, Callable[[], Evaluator]] = {}
    for name in wanted:
        if hasattr(target.module, name):
            evaluators |= getattr(target.module, name)(path)
    return evaluators


def _second(
    name: str, open_evaluator: Callable[[], Evaluator], target: Target, reference: Reference, first: np.ndarray
) -> dict[str, Any]:
    """What another evaluator says of a file, on a few of the photos, once it says the same as the first.

    It is held to the limits of the file's precision, or of its own arithmetic if that is coarser; and against the first
    evaluator, not the student: the file's own rounding was judged there on all photos, and a few would judge it by
    chance.
    """
    few = spread(range(len(reference.pixels)), OPINION_PHOTOS)
    try:
        evaluator = open_evaluator()
        answers = answers_of(evaluator, reference.pixels[few])
    except (InputError, Unsupported):  # the evaluator is wanting, not the file
        raise
    except Exception as error:
        raise GateError(f"{name} does not run it: {error}") from error
    classes = len(reference.bundle.labels)
    (outputs, familiarity), (first_outputs, first_familiarity) = split(answers, classes), split(first[few], classes)
    of_student = _of(reference, few)
    of_file = measure(outputs, replace(of_student, probabilities=first_outputs))
    problems, _ = _problems(of_file, target.tolerance.or_looser(getattr(evaluator, "tolerance", None)))
    if familiarity is not None and first_familiarity is not None:
        apart = float(np.abs(familiarity - first_familiarity).mean())
        problems += [f"familiarity is off by {apart:.2f} on average"] if apart > familiar.APART else []
    if problems:
        raise GateError(f"{name} diverges from the first evaluator: " + "; ".join(problems))
    return {
        **measure(outputs, of_student),
        "evaluator": evaluator.evaluator,
        "max_abs_difference": of_file["max_abs_error"],
        **getattr(evaluator, "details", {}),
    }


def measure(outputs: np.ndarray, reference: Reference) -> dict[str, Any]:
    """How a file's probabilities differ from its student's, as plain data."""
    expected = reference.probabilities
    if outputs.shape != expected.shape:
        raise GateError(f"its output has shape {outputs.shape}, not {expected.shape}")
    if not np.isfinite(outputs).all():
        raise GateError("its output has values that are not finite")
    error = np.abs(outputs - expected)
    cosine = (outputs * expected).sum(1) / (np.linalg.norm(outputs, axis=1) * np.linalg.norm(expected, axis=1) + 1e-12)
    two = np.sort(expected, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] >= MIN_MARGIN
    right, own = correct(expected, reference.labels), correct(outputs, reference.labels)
    return {
        "images": len(expected),
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.max(1).mean()),
        "min_cosine": float(cosine.min()),
        "agreement": agreement(outputs, expected),
        "clear": int(clear.sum()),
        "clear_agreement": agreement(outputs[clear], expected[clear]) if clear.any() else 1.0,
        "lost": int((right & ~own).sum()),
        "won": int((own & ~right).sum()),
        "top1": top_k(outputs, reference.labels),
        "student_top1": top_k(expected, reference.labels),
    }


def verify(
    exports: Path | str,
    *,
    bundle: Bundle | Path | str,
    photos: Photos,
    max_drop: float = 1.0,
    limit: int = 1000,
    arm: bool = False,
    gpu: bool = False,
) -> Manifest:
    """Prove every file of an exports folder again, and write what was found into its manifest.

    A file that fails stays on disk for a look, but no longer stands among the good ones. In a read-only folder the
    manifest stays as it is; the answer is the same.

    Args:
        exports: the folder.
        bundle: the student that the files were made from.
        photos: the student's photos.
        max_drop: points of top-1 that a file may lose against its student.
        limit: validation photos to verify on, at most.
        arm: also run LiteRT files on an emulated ARM, see `attar.export.tflite.arm`.
        gpu: also run LiteRT files on WebGPU, see `attar.export.web.gpu`.

    Raises:
        InputError: no manifest, the exports belong to another bundle, or `arm` or `gpu` cannot be had here.
        GateError: at least one file failed; the text names each, and why.
    """
    exports = Path(exports)
    bundle = as_bundle(bundle, "student")
    manifest = read_manifest(exports)
    if manifest.bundle["fingerprint"] != bundle.fingerprint:
        raise InputError(f"{exports}: made from another student than {bundle.path}. Export again, or give --bundle.")
    also = [where for where, wanted in (("arm", arm), ("gpu", gpu)) if wanted]
    for where in also:
        _require(where, exports, manifest)
    _refuse_another_story(exports, manifest, bundle)
    groups = np.array([level.of for level in manifest.levels], int) if manifest.levels else None
    reference = replace(student_reference(bundle, photos, limit), common=manifest.common, groups=groups)
    same_photos = manifest.data.get("fingerprint") == photos.fingerprint
    before = manifest.files
    failures = [f"{failed.target}: {failed.error}" for failed in manifest.failed]
    changed = changed_files(exports, manifest.guide) + _unlisted(exports, manifest)
    for entry in before:
        try:
            _whole(exports / entry.file, entry.sha256)
            target = parse_targets([entry.target])[0]
            measured = check(exports / entry.file, target, reference, max_drop, decision=entry.decision, also=also)
            _as_listed(entry, measured)
            if same_photos:
                _steady(entry, measured)
            manifest = manifest.with_file(
                replace(
                    entry,
                    verification=measured.verification,
                    partitions=measured.partitions,
                    min_runtime=measured.min_runtime,
                    decision=measured.decision,
                )
            )
        except AttarError as error:
            manifest = manifest.with_failure(FailedEntry(entry.target, f"{entry.file}: {error}"))
            failures.append(f"{entry.target}: {entry.file}: {error}")
    manifest = replace(manifest, bundle={**manifest.bundle, "readiness": readiness_of(bundle, photos).to_json()})
    _keep(manifest, exports)
    failures += [f"{file}: {problem}" for file, problem in changed]
    if failures:
        raise GateError(f"{exports}: {len(failures)} failed:\n  " + "\n  ".join(failures))
    return manifest


def _keep(manifest: Manifest, exports: Path) -> None:
    """Write what was found, where that can be done: a read-only copy can be proven all the same."""
    try:
        write_manifest(manifest, exports)
    except InputError as error:
        if not refuses_writing(error):
            raise
        say(f"{exports}: read-only, so what was found is not written into its manifest.")


def changed_files(folder: Path, digests: Mapping[str, str]) -> list[tuple[str, str]]:
    """The files and folders whose SHA-256 is not the one given, each with what is wrong with it."""
    changed = []
    for name, digest in digests.items():
        try:
            _whole(folder / name, digest)
        except GateError as error:
            changed.append((name, str(error)))
    return changed


def _refuse_another_story(exports: Path, manifest: Manifest, bundle: Bundle) -> None:
    """Refuse a manifest that lists nothing, or says other things of the student than its bundle."""
    if not manifest.files and not manifest.failed:
        raise GateError(f"{exports}: its manifest lists no file, so there is nothing to prove. Export again.")
    stored = {"labels": list(bundle.labels), "preprocessing": bundle.preprocessing.to_json(), "name": bundle.name}
    listed = {
        "labels": manifest.bundle["labels"],
        "preprocessing": manifest.preprocessing,
        "name": manifest.bundle["name"],
    }
    for what, value in stored.items():
        if listed[what] != value:
            raise GateError(f"{exports}: its manifest has other {what} than {bundle.path}. Export again.")


def _unlisted(exports: Path, manifest: Manifest) -> list[tuple[str, str]]:
    """What lies in the folder and is not in the manifest: nobody has looked at it."""
    strange = sorted({item.name for item in exports.iterdir()} - manifest.names() - {NAME})
    return [
        (name, "not listed in manifest.json, so nothing is known of it. Remove it, or export again")
        for name in strange
        if not name.startswith(".tmp-")  # of an export that was killed; the next one removes it
    ]


def _as_listed(entry: FileEntry, measured: FileEntry) -> None:
    """What the manifest says of a file is what the file says of itself."""
    for name in ("bytes", "signature", "labels_sha256", "min_runtime"):
        listed, real = getattr(entry, name), getattr(measured, name)
        if json.loads(json.dumps(listed)) != json.loads(json.dumps(real)):
            raise GateError(f"its {name} in manifest.json is {listed!r}, and the file's is {real!r}. Export it again")


def _require(where: str, exports: Path, manifest: Manifest) -> None:
    """Find out before any work that there is something to run on an ARM or a GPU, and one to run it on."""
    from attar.export.tflite import arm
    from attar.export.web import gpu

    if not any(entry.target.startswith("litert:") for entry in manifest.files):
        raise InputError(f"{exports}: --{where} runs LiteRT files, and there is none here. Export a litert target.")
    if where == "gpu":
        gpu.ready()
    elif not arm.native():
        arm.machine()


def _steady(before: FileEntry, now: FileEntry) -> None:
    """The same file on the same photos errs as it did: a file of another making seldom does."""
    was, is_now = before.verification, now.verification
    if was["images"] != is_now["images"]:
        return
    times, plus = REVERIFY_TOLERANCE
    if is_now["mean_abs_error"] > times * was["mean_abs_error"] + plus:
        raise GateError(
            "it is not the file that was verified, or this processor computes it otherwise: its probabilities are off "
            f"by {is_now['mean_abs_error']:.4f} on average, and were by {was['mean_abs_error']:.4f}. Export it again"
        )


def _whole(path: Path, digest: str) -> None:
    if not path.exists():
        raise GateError("the file is missing")
    if sha256(path) != digest:
        raise GateError("its content changed since it was verified (SHA-256 differs). Export it again")


def _gate(measured: dict[str, Any], limits: Tolerance, max_drop: float) -> str:
    """Refuse a file that is not its student -> a remark where there were too few photos to be sure that it is."""
    problems, doubts = _problems(measured, limits)
    drop = 100 * (measured["student_top1"] - measured["top1"])
    if drop > max_drop + 1e-9:
        lost, won, images = measured["lost"], measured["won"], measured["images"]
        low = -100 * paired_interval(np.repeat([1, -1, 0], [won, lost, images - won - lost]), 1 - 2 * CHANCE)[1]
        if max_drop and images < RESOLVED / max_drop and low <= max_drop:
            doubts.append(
                f"it is wrong on {lost} of {images} photos where its student is right, and right on {won} where that "
                f"is wrong: too few photos to tell {max_drop:g} point(s)"
            )
        else:
            problems.append(f"it loses {drop:.2f} points of top-1 (limit {max_drop}, see --max-drop)")
    if problems:
        raise GateError("it diverges from its student: " + "; ".join(problems))
    return "; ".join(doubts)


def _problems(measured: dict[str, Any], limits: Tolerance) -> tuple[list[str], list[str]]:
    """What is beyond the limits for certain, and what may be by chance, as there were few photos."""
    problems, doubts = [], []
    if measured["max_abs_error"] > limits.max_abs:
        problems.append(f"a probability is off by {measured['max_abs_error']:.4f} (limit {limits.max_abs})")
    if measured["mean_abs_error"] > limits.mean_abs:
        problems.append(
            f"probabilities are off by {measured['mean_abs_error']:.4f} on average (limit {limits.mean_abs})"
        )
    if measured["clear_agreement"] < limits.agreement:
        agreement, clear = 100 * measured["clear_agreement"], measured["clear"]
        differ = round(clear * (1 - measured["clear_agreement"]))
        if clear * (1 - limits.agreement) < ENOUGH and binom.sf(differ - 1, clear, 1 - limits.agreement) >= CHANCE:
            doubts.append(f"{differ} of {clear} clear photos get another answer: too few photos to tell")
        else:
            problems.append(f"it agrees on {agreement:.1f}% of the clear photos (limit {100 * limits.agreement:.0f}%)")
    return problems, doubts


def _difference(labels: Sequence[str], expected: Sequence[str]) -> str:
    if len(labels) != len(expected):
        return f"{len(labels)} of them, not {len(expected)}"
    i = next(i for i, (a, b) in enumerate(zip(labels, expected)) if a != b)
    return f"number {i} is {labels[i]!r}, not {expected[i]!r}"
