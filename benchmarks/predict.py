"""What a model answers about photos that have no labels: one photo, a folder, a CSV of paths, shards or tables.

The model is whatever attar writes: a run, a teacher's or student's bundle, an exports folder or one exported file. A
file is run as it is, with the preprocessing and the labels inside it, so that the answers are those of an app.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.inputs import photos_at
from attar.bundle import Bundle, read_bundle
from attar.console import say, track
from attar.data.images import UnreadableImage, use_rgb
from attar.data.photos import Photo, in_threads
from attar.errors import InputError, did_you_mean
from attar.export.capture_output import captured
from attar.export.decision import members
from attar.export.formats import format_of
from attar.export.manifest import NAME, read_manifest
from attar.export.runners import open_runner
from attar.export.runners.answers import answers_of, split
from attar.files import inside, sha256
from attar.geo.places import Finder, Place
from attar.hierarchy import Level, summed
from attar.preprocessing import Preprocessing
from attar.quality import beyond, quality_of
from attar.runfolder import RunFolder

BATCH = 256
"""Photos that are in memory at once, as the model takes them."""


@dataclass(frozen=True)
class Model:
    """Something that can be asked.

    Attributes:
        name: for a person.
        labels: in the order of its answers.
        preprocessing: how a photo becomes its input.
        answer: uint8 images (N, S, S, 3) -> float32 probabilities (N, classes), and a column of
            familiarity if it has one.
        decision: what the manifest says of an exported file's answers (`attar.export.decision`), if it is known.
        common: how common each class is, as that needs it.
        quality: the range of its training photos (`attar.quality.range_of`), if it is known.
        levels: groups of its labels, the nearest level first.
    """

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    answer: Callable[[np.ndarray], np.ndarray]
    decision: dict[str, Any] | None = None
    common: np.ndarray | None = None
    quality: dict[str, Any] | None = None
    levels: tuple[Level, ...] = ()

    @property
    def threshold(self) -> float:
        """The confidence from which on an answer is sure: the file's own, 0 where none is known."""
        return float((self.decision or {"sure": {}})["sure"].get("threshold") or 0.0)

    def strange(self, familiarity: float | None) -> bool:
        """Whether a photo is as unfamiliar as few of its own are; never where that is not known."""
        threshold = (self.decision or {}).get("familiar", {}).get("threshold")
        return familiarity is not None and threshold is not None and familiarity < threshold

    def group(self, row: np.ndarray) -> tuple[str, float] | None:
        """The nearest group that a row of probabilities is sure of, and its probability; None: of none."""
        for level, sure in zip(self.levels, (self.decision or {}).get("groups", ())):
            shares = summed(row[None], np.array(level.of))[0]
            if sure["threshold"] is not None and shares.max() >= sure["threshold"]:
                return level.names[int(shares.argmax())], float(shares.max())
        return None

    def among(self, rows: np.ndarray) -> list[tuple[str, ...]]:
        """Of each row of probabilities, the labels of which one is right, the most probable first."""
        if self.decision is None:
            return [()] * len(rows)
        inside = members(rows, self.common, self.decision["set"]["threshold"])
        order = np.argsort(-rows, axis=1, kind="stable")
        return [tuple(self.labels[i] for i in best if held[i]) for best, held in zip(order, inside)]


@dataclass(frozen=True)
class Prediction:
    """The answer about one photo.

    Attributes:
        photo: as it was named.
        top: the most probable labels and their probabilities, the first the most; empty where the photo was not read.
        sure: whether the first is at least as probable as was asked for, or as the file's own threshold.
        among: labels of which one is right as often as the file's decision promises; empty where it has none.
        group: where the first is not sure, the nearest group of labels that is, and its probability.
        familiarity: how much it is like the photos that the model knows, in [0, 1]; None where it does not say.
        strange: whether it is less familiar than the file's threshold: not one of its classes. Then it is not sure.
        beyond: in what the photo is beyond the range of the training photos, such as `dark`, if that is known.
        place: where and when it was taken, if that was asked for and is known; then `top` takes it in.
        problem: why the photo was not read; empty if it was.
    """

    photo: str
    top: tuple[tuple[str, float], ...] = ()
    sure: bool = True
    among: tuple[str, ...] = ()
    group: tuple[str, float] | None = None
    familiarity: float | None = None
    strange: bool = False
    beyond: tuple[str, ...] = ()
    place: Place | None = None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        if self.problem:
            return {"photo": self.photo, "problem": self.problem}
        top = [{"label": label, "probability": share} for label, share in self.top]
        among = {"set": list(self.among)} if self.among else {}
        group = {"group": dict(zip(("name", "probability"), self.group))} if self.group else {}
        known = {} if self.familiarity is None else {"familiarity": self.familiarity, "strange": self.strange}
        more = {**among, **group, **known, **({"beyond": list(self.beyond)} if self.beyond else {})}
        more |= {"place": asdict(self.place)} if self.place else {}
        label = self.top[0][0] if self.sure else None
        return {"photo": self.photo, "label": label, "sure": self.sure, **more, "top": top}


def predict(
    model: Path | str,
    photos: Path | str | Sequence[Path | str],
    *,
    top: int = 3,
    threshold: float | None = None,
    target: str | None = None,
    geo: Path | str | None = None,
    at: Place | None = None,
) -> list[Prediction]:
    """Ask a model about photos.

    Args:
        model: a run, a bundle, an exports folder, or an exported file.
        photos: one or several of: photos, folders of them (laid out anyhow), CSV files with a column `path`, shards
            or tables.
        top: answers for each photo, at most.
        threshold: least probability of an answer that counts as sure, in [0, 1]; None: an exported file's own, whose
            manifest lies beside it (`attar.export.decision`), and 0 for models.
        target: which file of an exports folder, such as `litert:int8`; by default the first.
        geo: a prior of place and season (`attar.geo.files`), which answers of photos with a place take in. Thresholds
            stay those of the photos alone.
        at: where and when all photos were taken; None: as a CSV with latitude and longitude says of its photos, and
            else their EXIF. Photos without a place are answered as without `geo`, bit for bit.

    Raises:
        InputError: no such model, or no photo; or none that can be read; a prior of other labels.
    """
    if top < 1 or not (threshold is None or 0 <= threshold <= 1):
        raise InputError(f"top {top} is at least 1, and threshold {threshold} is between 0 and 1.")
    places = [photos] if isinstance(photos, Path | str) else photos
    listed = photos_at([Path(place) for place in places])
    asked = open_model(Path(model), target)
    if threshold is None:
        threshold = asked.threshold
        if asked.decision and (reason := asked.decision["sure"].get("reason")):
            say(f"{asked.name}: no answer can be called sure or unsure: {reason}.")
    locate = _locating(Path(geo), asked, [Path(place) for place in places], at) if geo else None
    answers = list(_answers(asked, listed, min(top, len(asked.labels)), threshold, locate))
    if all(each.problem for each in answers):
        raise InputError(
            f"None of {len(answers)} photos can be read. The first, {answers[0].photo}: {answers[0].problem}."
        )
    if geo and (without := sum(not each.place and not each.problem for each in answers)):
        say(f"{without} of {len(answers)} photos have no place: they are answered by themselves alone.")
    return answers


def open_model(path: Path, target: str | None = None) -> Model:
    """Whatever of attar's lies at `path`, ready to be asked.

    Raises:
        InputError: nothing that can answer; the text says what may be given.
    """
    if format_of(path) is not None:
        return _file(path)
    if (path / "run.json").is_file() and target is None:
        return _bundle(read_bundle(RunFolder(path).student, "student"))
    if (path / "bundle.json").is_file():
        return _bundle(read_bundle(path))
    exports = path if (path / NAME).is_file() else RunFolder(path).exports
    if (exports / NAME).is_file():
        return _file(inside(exports, _chosen(exports, target), exports / NAME))
    raise InputError(
        f"{path}: no model to ask. Give a run's folder, a bundle's, an exports folder, or a file such as "
        "litert-int8.tflite."
    )


def _chosen(exports: Path, target: str | None) -> str:
    files = {entry.target: entry.file for entry in read_manifest(exports).files}
    if not files or (target is not None and target not in files):
        here = ", ".join(files) or "none"
        raise InputError(
            f"{exports}: no file of {target or 'any target'}.{did_you_mean(target or '', files)} Here: {here}."
        )
    return files[target] if target else next(iter(files.values()))


def _file(path: Path) -> Model:
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    known = _described(path)
    try:
        with captured():  # runtimes say which delegates they make
            runner = open_runner(path)
    except InputError:
        raise
    except Exception as error:  # runtimes raise anything on a damaged file
        raise InputError(f"{path}: does not load ({str(error).partition(chr(10))[0]}). Export it again.") from error
    if not runner.preprocessing or not runner.labels:
        raise InputError(f"{path}: says nothing of its labels or preprocessing. Export it with attar.")
    how = Preprocessing.from_json(runner.preprocessing)
    return Model(path.name, runner.labels, how, partial(answers_of, runner), **known)


def _described(path: Path) -> dict[str, Any]:
    """What the manifest beside a file says of its answers. A file that is not the one that was verified gives none."""
    if not (path.parent / NAME).is_file():
        return {}
    manifest = read_manifest(path.parent)
    for entry in manifest.files:
        if entry.file == path.name:
            if entry.sha256 != sha256(path):
                raise InputError(
                    f"{path}: its content changed since it was verified (SHA-256 differs). Export it again."
                )
            known = {"decision": entry.decision, "common": manifest.common, "levels": manifest.levels}
            return {**known, "quality": manifest.data.get("quality")}
    return {}


def _bundle(bundle: Bundle) -> Model:
    from attar import students, teachers
    from attar.inference import predict as ask
    from attar.inference import torch_device

    module: Any = (students if bundle.kind == "student" else teachers).load(bundle)
    module.to(torch_device())
    return Model(bundle.name, bundle.labels, bundle.preprocessing, lambda pixels: ask(module, pixels))


Locate = Callable[[np.ndarray, Sequence[Photo]], tuple[np.ndarray, list[Place | None]]]
"""Probabilities of photos -> those that take their places in, and the places."""


def _locating(folder: Path, model: Model, sources: Sequence[Path], at: Place | None) -> Locate:
    from attar.geo.located import open_located

    located, finder = open_located(folder, model.labels), Finder(sources, at)

    def locate(probabilities: np.ndarray, photos: Sequence[Photo]) -> tuple[np.ndarray, list[Place | None]]:
        places = finder.places(photos)
        return located(probabilities, places), places

    return locate


def _answers(
    model: Model, photos: Sequence[Photo], top: int, threshold: float, locate: Locate | None = None
) -> Iterator[Prediction]:
    starts = range(0, len(photos), BATCH)
    for start in track(starts, "Predicting", len(starts)):
        some = photos[start : start + BATCH]
        read = list(in_threads(lambda photo: _read(photo, model.preprocessing), some))
        images = [each[0] for each in read if not isinstance(each, str)]
        answered = model.answer(np.stack(images)) if images else np.zeros((0, len(model.labels)))
        answered, familiarity = split(answered, len(model.labels))
        known = [None] * len(answered) if familiarity is None else familiarity.tolist()
        places: list[Place | None] = [None] * len(answered)
        if locate:
            answered, places = locate(answered, [p for p, each in zip(some, read) if not isinstance(each, str)])
        rows = iter(zip(answered, model.among(answered), known, places))
        for photo, each in zip(some, read):
            if isinstance(each, str):
                yield Prediction(str(photo.shown), problem=each)
                continue
            shares, among, familiar, place = next(rows)
            best = np.argsort(-shares, kind="stable")[:top]
            answers = tuple((model.labels[i], float(shares[i])) for i in best)
            strange = model.strange(familiar)
            sure = answers[0][1] >= threshold and not strange
            group = None if sure or strange else model.group(shares)
            poor = beyond(quality_of(*each), model.quality) if model.quality else ()
            yield Prediction(str(photo.shown), answers, sure, among, group, familiar, strange, poor, place)


def _read(photo: Photo, preprocessing: Preprocessing) -> tuple[np.ndarray, int] | str:
    """The photo as the model takes it and its shorter side, pixels; or why it cannot be read."""
    try:
        return use_rgb(lambda image: (preprocessing(image), min(image.size)), photo.path, photo.part)
    except UnreadableImage as error:
        return str(error)
