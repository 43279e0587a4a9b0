"""The gate between a challenger and the champion: exported files on the same photos, and a ledger of looks at them.

Every target that the champion has is asked, or those that are named, and each has to pass. The photos are the
validation photos of the classes that the champion knows; what a challenger's new classes are worth is told beside it.
One of the files may be named as the primary one (`attar.deploy.release.primary`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.latency.intervals import in_rounds, ratio_estimate
from attar.benchmarks.latency.measure import BLOCK, measure
from attar.benchmarks.predict import BATCH, Model, open_model
from attar.benchmarks.runtimes import chosen
from attar.data.photos import Photo, Photos
from attar.data.pixels import Pixels
from attar.deploy.release import ledger as ledgers
from attar.deploy.release.primary import limits_of, require_primary
from attar.deploy.release.verdict import (
    Check,
    Limits,
    Paired,
    Verdict,
    calibration_of,
    judge,
    labels_check,
    latency_check,
    size_check,
)
from attar.errors import GateError, InputError, did_you_mean
from attar.export import familiar
from attar.export.decision import Outcomes, outcomes, prove
from attar.export.formats import FORMATS
from attar.export.manifest import FileEntry, read_manifest
from attar.export.runners.answers import split
from attar.files import digest_of, sha256, size


@dataclass(frozen=True)
class Gate:
    """What was decided, and how often these photos have decided.

    Attributes:
        verdicts: of each file.
        look: which look at the photos this was, of `attar.deploy.release.ledger.LOOKS`.
        digests: SHA-256 of the champion's and the challenger's file, of each verdict.
        new: photos of classes that only the challenger has, and how many of them its first file has right.
        champion, challenger: as they were named.
        limits: what was asked for.
        primary: the file that has to show the gain (`attar.deploy.release.primary`); empty: each has to.
    """

    verdicts: tuple[Verdict, ...]
    digests: tuple[tuple[str, str], ...]
    look: int
    new: tuple[int, int]
    champion: str
    challenger: str
    limits: Limits
    primary: str = ""

    @property
    def ship(self) -> bool:
        """Whether every file may go out."""
        return all(each.ship for each in self.verdicts)

    @property
    def sentence(self) -> str:
        """The decision in one sentence, and which file it is about if there are several."""
        held = [each for each in self.verdicts if not each.ship]
        first = (held or self.verdicts)[0]
        if len(self.verdicts) == 1:
            return first.sentence
        kind, _, rest = first.sentence.removesuffix(".").partition(": ")
        others = len(held or self.verdicts) - 1
        verb = ("fails" if held else "passes") if others == 1 else ("fail" if held else "pass")
        more = f"; {others} more {'file' if others == 1 else 'files'} {verb}" if others else ""
        return f"{kind}: {first.target}: {rest}{more}."

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "ship": self.ship,
            "sentence": self.sentence,
            "champion": self.champion,
            "challenger": self.challenger,
            "look": self.look,
            "looks": ledgers.LOOKS,
            "limits": asdict(self.limits),
            **({"primary": self.primary} if self.primary else {}),
            "new_classes": {"photos": self.new[0], "right": self.new[1]},
            "files": [
                {**each.to_json(), "champion_sha256": before, "challenger_sha256": now}
                for each, (before, now) in zip(self.verdicts, self.digests)
            ],
        }


@dataclass(frozen=True)
class _File:
    """An exported file, ready to be asked."""

    path: Path
    target: str

    @cached_property
    def model(self) -> Model:
        return open_model(self.path)

    @cached_property
    def digest(self) -> str:
        return sha256(self.path)


def gate(
    champion: Path,
    challenger: Path,
    photos: Photos,
    *,
    ledger: Path,
    targets: Sequence[str] = (),
    limits: Limits | None = None,
    primary: str = "",
    slices: Path | None = None,
    pinned: Path | None = None,
    seconds: float = 5.0,
) -> Gate:
    """Decide whether a challenger's files may take the champion's place.

    Args:
        champion, challenger: exports folders, or exported files of one format.
        photos: the challenger's photos; their validation photos are asked about.
        ledger: the file that counts looks at sets of photos (`attar.deploy.release.ledger`).
        targets: which files; by default all that the champion has.
        limits: what the challenger has to meet.
        primary: which file has to show the gain, while the others lose less than the margin; empty: all have to meet
            the same.
        slices: a CSV file with the columns `photo` and `slice`.
        pinned: a text file with the name of a photo per line, which must stay right.
        seconds: time to measure latency of each pair of files, where a runtime here runs them; 0: it is not measured.

    Raises:
        InputError: files that do not belong to the photos, a name that no photo has, no photo, or photos that have
            decided as often as they may.
    """
    limits = limits or Limits()
    pairs = _pairs(champion, challenger, targets)
    if primary:
        require_primary(primary, limits.margin, [now.target for _, now in pairs])
        pairs.sort(key=lambda files: files[1].target != primary)  # the figures of new classes come from the first file
    known = _known(pairs[0][0], photos)
    names = [photos.name(photo) for photo in photos.val]
    parts = _slices(slices, names) if slices else {}
    fixed = _pinned(pinned, names) if pinned else []
    asked = [photo for photo in photos.val if photos.labels[photo.label] in known]
    if not asked:
        raise InputError(f"{photos.spec.path}: no validation photo shows a class of the champion.")
    identities = _identities(photos, known)
    asked_for = [asdict(limits), *([primary] if primary else []), parts, fixed, identities]
    pair = digest_of([*[[each.digest for each in files] for files in pairs], *asked_for])
    sample = ledgers.sample(identities)
    with ledgers.opened(ledger) as looks:
        look, level = looks.number(sample, pair), ledgers.level()
        verdicts, new = [], (0, 0)
        for number, files in enumerate(pairs):
            own = limits_of(files[1].target, primary, limits)
            verdict, right = _decide(files, photos, known, own, level, parts, fixed, seconds)
            verdicts.append(verdict)
            new = right if not number else new
        digests = tuple((before.digest, now.digest) for before, now in pairs)
        made = Gate(tuple(verdicts), digests, look, new, str(champion), str(challenger), limits, primary)
        looks.add(ledgers.Look(datetime.now(UTC).isoformat(timespec="seconds"), sample, pair, level, made.ship))
    return made


# --- files ---------------------------------------------------------------------------------------


def _pairs(champion: Path, challenger: Path, targets: Sequence[str]) -> list[tuple[_File, _File]]:
    """The champion's files, each with the challenger's of the same target."""
    before, now = (_files(path) for path in (champion, challenger))
    if not targets and not {*before} & {*now}:
        raise InputError(f"{challenger}: no file of the champion's targets: {', '.join(before)}. Export them.")
    wanted = targets or tuple(before)
    for target in wanted:
        for files, path in ((before, champion), (now, challenger)):
            if target not in files:
                raise InputError(f"{path}: no file {target}.{did_you_mean(target, files)} Here: {', '.join(files)}.")
    return [(before[target], now[target]) for target in wanted]


def _files(path: Path) -> dict[str, _File]:
    """The verified files of an exports folder, or one file."""
    if (path / "manifest.json").is_file():
        entries: Sequence[FileEntry] = read_manifest(path).files
        if not entries:
            raise InputError(f"{path}: no verified file. Export some with `attar export`.")
        return {each.target: _File(path / each.file, each.target) for each in entries}
    if not path.exists():
        raise InputError(f"{path}: nothing is there. Give a run, an exports folder or an exported file.")
    listed = path.parent / "manifest.json"
    entries = read_manifest(path.parent).files if listed.is_file() else ()
    target = next((each.target for each in entries if each.file == path.name), None)
    if target is None:
        raise InputError(f"{path}: no manifest beside it lists this file. Give a file of an exports folder.")
    return {target: _File(path, target)}


# --- photos --------------------------------------------------------------------------------------


def _known(champion: _File, photos: Photos) -> frozenset[str]:
    """The classes of the photos that the champion knows."""
    known = frozenset(champion.model.labels) & frozenset(photos.labels)
    if strange := sorted({*champion.model.labels} - {*photos.labels}):
        raise InputError(
            f"{champion.path}: {len(strange)} of its classes are none of {photos.spec.path}, such as {strange[0]!r}. "
            "Give the challenger's photos (--data); they hold the champion's classes too."
        )
    return known


def _identities(photos: Photos, known: frozenset[str]) -> list[str]:
    """Of each photo that decides, a digest of its label and content."""
    deciding = [(label, content) for _, label, side, content in photos.listing if side == "val" and label in known]
    return sorted(digest_of(list(each)) for each in deciding)


def _slices(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The photos of each slice."""
    found: dict[str, list[str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            if not {"photo", "slice"} <= {*(rows.fieldnames or ())}:
                raise InputError(f"{path}: needs the columns photo and slice.")
            for row in rows:
                if not row["slice"] or not row["photo"]:
                    raise InputError(f"{path}: line {rows.line_num} lacks a photo or a slice.")
                found.setdefault(row["slice"], []).append(row["photo"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from None
    _refuse_unknown(path, [photo for photos in found.values() for photo in photos], names)
    return found


def _pinned(path: Path, names: Sequence[str]) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from None
    pinned = [line for line in lines if line]
    _refuse_unknown(path, pinned, names)
    return pinned


def _refuse_unknown(path: Path, given: Sequence[str], names: Sequence[str]) -> None:
    known = {*names}
    for photo in given:
        if photo not in known:
            raise InputError(f"{path}: {photo!r} is no validation photo.{did_you_mean(photo, names)}")


# --- one target ----------------------------------------------------------------------------------


def _decide(
    files: tuple[_File, _File],
    photos: Photos,
    known: frozenset[str],
    limits: Limits,
    level: float,
    slices: Mapping[str, Sequence[str]],
    pinned: Sequence[str],
    seconds: float,
) -> tuple[Verdict, tuple[int, int]]:
    """The verdict on a challenger's file, and its new classes' photos and right answers."""
    before, now = files
    val = photos.val
    shown = [photos.labels[photo.label] for photo in val]
    old = np.array([label in known for label in shown])
    first = _ask(before.model, [photo for photo, is_old in zip(val, old) if is_old], photos.labels)
    second = _ask(now.model, val, photos.labels)
    answered = [now.model.labels[i] for i in second.best]
    here = np.flatnonzero(old).tolist()
    paired = Paired(
        tuple(photos.name(val[i]) for i in here),
        tuple(shown[i] for i in here),
        tuple(before.model.labels[i] for i in first.best),
        tuple(answered[i] for i in here),
    )
    more = [
        labels_check(before.model.labels, now.model.labels),
        _promises(now.model, second),
        size_check(size(before.path), size(now.path), limits),
        *_latency(files, limits, seconds),
    ]
    new = [answer == label for answer, label, is_old in zip(answered, shown, old) if not is_old]
    calibration = calibration_of(paired, first.confidence, second.confidence[here])
    verdict = judge(now.target, paired, limits, level, slices=slices, pinned=pinned, calibration=calibration, more=more)
    return verdict, (len(new), sum(new))


@dataclass(frozen=True)
class _Answers:
    """What a file answers of photos, without the probabilities of all classes: of many photos, those are gigabytes.

    Attributes:
        best: the most probable class, int (photos,).
        confidence: its probability, float (photos,).
        outcomes: what the answers on the photos of the file's own classes come to, where it promises something.
        familiarity: of the photos of its own classes, float, if it says it.
    """

    best: np.ndarray
    confidence: np.ndarray
    outcomes: Outcomes | None
    familiarity: np.ndarray | None

    @staticmethod
    def joined(parts: Sequence[_Answers]) -> _Answers:
        found = [each.outcomes for each in parts if each.outcomes is not None]
        familiarity = [each.familiarity for each in parts if each.familiarity is not None]
        return _Answers(
            np.concatenate([each.best for each in parts]),
            np.concatenate([each.confidence for each in parts]),
            Outcomes.joined(found) if found else None,
            np.concatenate(familiarity) if familiarity else None,
        )


def _ask(model: Model, photos: Sequence[Photo], labels: Sequence[str]) -> _Answers:
    """Ask a model, a batch of photos at a time; `labels` are those that the photos' numbers stand for."""
    places = {label: number for number, label in enumerate(model.labels)}
    shown = np.array([places.get(labels[photo.label], -1) for photo in photos])
    groups = np.array([level.of for level in model.levels]) if model.levels else None
    pixels = Pixels(photos, model.preprocessing, f"Reading photos for {model.name}")

    def batch(part: slice) -> _Answers:
        probabilities, familiarity = split(model.answer(pixels[part]), len(model.labels))
        own = shown[part] >= 0
        return _Answers(
            probabilities.argmax(1),
            probabilities.max(1),
            None
            if model.decision is None
            else outcomes(model.decision, probabilities[own], shown[part][own], model.common, groups),
            None if familiarity is None else familiarity[own],
        )

    return _Answers.joined([batch(slice(start, start + BATCH)) for start in range(0, len(pixels), BATCH)])


def _promises(model: Model, answers: _Answers) -> Check:
    """Whether the challenger's thresholds keep on these photos what its manifest promises."""
    if model.decision is None or answers.outcomes is None:
        return Check("promises", True, "it promises nothing of its answers")
    if not len(answers.outcomes.held):
        return Check("promises", False, "it knows none of the photos' classes")
    try:
        prove(model.decision, answers.outcomes)
        if answers.familiarity is not None and "familiar" in model.decision:
            familiar.prove(model.decision["familiar"], answers.familiarity)
    except GateError as error:
        return Check("promises", False, str(error))
    return Check("promises", True, "its thresholds keep what they promise")


def _latency(files: tuple[_File, _File], limits: Limits, seconds: float) -> list[Check]:
    """Both files in turns on this machine, if one of its runtimes runs them."""
    format = files[0].target.partition(":")[0]
    runtimes = chosen(format) if format in FORMATS else ()
    if not runtimes or not seconds:
        return [Check("latency", True, "its latency was not measured here")]
    taken = measure([(runtimes[0], each.path) for each in files], 1, seconds).samples
    before, now = (in_rounds(samples, BLOCK) for samples in taken)
    ratio = ratio_estimate(now, before)
    return [latency_check(ratio.low, ratio.value, ratio.high, limits)]
