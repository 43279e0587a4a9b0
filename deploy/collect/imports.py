"""Photos with labels that came another way than by the app, as observations of the person who sent them.

The model is asked about each photo, as a phone would have done: where it gives the label, the observation confirms it,
and else it corrects it, or names something that the model does not know.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np

from attar.benchmarks.predict import Model, open_model
from attar.console import track
from attar.data.csvlist import METADATA, is_described, read_csv
from attar.data.foldertree import Skipped
from attar.data.images import UnreadableImage, use_rgb
from attar.data.layouts import read_layout
from attar.data.observations import Observation, Verdict, one_line, read_observation
from attar.data.sample import Sample
from attar.deploy.app.choose import choose
from attar.deploy.collect.cleaning import Cleaner
from attar.deploy.collect.store import Kept, Store, opened
from attar.errors import InputError, in_line
from attar.export.formats import format_of
from attar.export.manifest import read_manifest
from attar.files import sha256
from attar.runfolder import exports_of

_IDS = UUID("6a1ff1d4-0c0e-5d43-9b1d-4a5f0f1f7c55")
"""The same photo, person and label make the same observation, so that a folder may be imported again."""
_BATCH = 64


@dataclass(frozen=True)
class Imported:
    """What became of the photos.

    Attributes:
        new: observations that were kept.
        known: those that were imported before.
        left_out: photos that cannot be used, and why.
    """

    new: int
    known: int
    left_out: tuple[Skipped, ...]


@dataclass(frozen=True)
class _Sent:
    """A photo of the folder: its label, the SHA-256 of its file, and its observation's id."""

    path: Path
    label: str
    digest: str
    id: str


def import_photos(folder: Path, place: Path, contributor: str, model: Path) -> Imported:
    """Keep the labelled photos at `place` as observations. Interrupted, the same call goes on.

    Args:
        folder: where to keep them; made if there is none.
        place: a folder of class/photo.jpg, or a CSV of path,label.
        contributor: who sent them. No invitation is needed, and what is imported counts towards none.
        model: a run, an exports folder, or an exported file: what is asked about the photos.

    Raises:
        InputError: no such folder or model, no photo, or a name or label that cannot be kept.
    """
    file = _file_of(model)
    asked, digest = open_model(file), sha256(file)
    sent, left = _sent(_found(place), sender(contributor))
    with opened(folder, create=True) as store:
        new, known = _kept(store, sent, left, contributor, asked, digest)
    return Imported(new, known, tuple(left))


def _kept(
    store: Store, sent: Sequence[_Sent], left: list[Skipped], contributor: str, asked: Model, digest: str
) -> tuple[int, int]:
    """Keep what is not known yet -> how many are new, and how many were known; `left` gets what cannot be read."""
    fresh = [each for each in sent if store.one(each.id) is None]
    new = 0
    starts = range(0, len(fresh), _BATCH)
    with Cleaner() as cleaner, tempfile.TemporaryDirectory(prefix="attar-import-") as aside:
        for start in track(starts, "Importing photos", len(starts)):
            photos: list[tuple[_Sent, bytes]] = []
            for each in fresh[start : start + _BATCH]:
                try:
                    photos.append((each, cleaner.clean(each.path)))
                except UnreadableImage as error:
                    left.append(Skipped(each.path, str(error)))
            answers = _answers(asked, [photo for _, photo in photos], Path(aside))
            for (each, photo), answer in zip(photos, answers):
                observation = _observation(each, contributor, asked.labels, answer, digest)
                new += store.add(observation, photo, each.digest, invited=False) is Kept.NEW
    return new, len(sent) - len(fresh)


def sender(contributor: str) -> str:
    """The name of who sent what is imported.

    Raises:
        InputError: it cannot be kept as it is.
    """
    try:
        name = one_line(contributor)
    except ValueError as error:
        raise InputError(f"--by {contributor!r}: {error}. Give a name on one line.") from error
    if not name or name != contributor:
        raise InputError(f"--by {contributor!r}: give a name without spaces around it.")
    return name


def _found(place: Path) -> list[Sample]:
    if not place.exists():
        raise InputError(f"{place}: no such folder or CSV file. Give --import a folder of class/photo.jpg.")
    if place.is_file():
        layout = read_csv(place)
    else:
        layout = read_csv(place / METADATA) if is_described(place) else read_layout(place)
    if not layout.samples:
        raise InputError(f"{place}: no photos with a label. Give --import a folder of class/photo.jpg.")
    return layout.samples


def _file_of(model: Path) -> Path:
    """The exported file that is asked: of a run, the one that the app would run first."""
    if format_of(model) is not None:
        return model
    exports = exports_of(model)
    return exports / choose(read_manifest(exports), exports)[0].file


def _sent(samples: Sequence[Sample], contributor: str) -> tuple[list[_Sent], list[Skipped]]:
    sent, left = [], []
    for label in {each.label for each in samples}:
        try:
            one_line(label)
        except ValueError as error:
            raise InputError(
                f"The class {in_line(label)}: its name {error}. Rename its folder, or the label."
            ) from error
    for each in samples:
        try:
            digest = sha256(each.path)
        except OSError as error:
            left.append(Skipped(each.path, f"cannot be read ({error.strerror})"))
            continue
        id = str(uuid5(_IDS, f"{contributor}\n{digest}\n{each.label}"))
        sent.append(_Sent(each.path, each.label, digest, id))
    return list({each.id: each for each in sent}.values()), left


def _answers(model: Model, photos: Sequence[bytes], folder: Path) -> Iterator[tuple[str, float]]:
    """The model's first answer about each photo, and how probable it says that is."""
    if not photos:
        return
    path, pixels = folder / "photo.jpg", []
    for photo in photos:
        path.write_bytes(photo)
        pixels.append(use_rgb(model.preprocessing, path))
    for row in model.answer(np.stack(pixels))[:, : len(model.labels)]:
        first = int(row.argmax())
        yield model.labels[first], float(row[first])


def _observation(
    each: _Sent, contributor: str, labels: Sequence[str], answer: tuple[str, float], model: str
) -> Observation:
    predicted, probability = answer
    known = each.label in labels
    verdict = Verdict.CONFIRMED if each.label == predicted else Verdict.CORRECTED if known else Verdict.OTHER
    return read_observation(
        {
            "id": each.id,
            "image": each.digest,
            "time": datetime.fromtimestamp(each.path.stat().st_mtime, UTC),
            "predicted": predicted,
            "probability": min(max(probability, 0.0), 1.0),
            "model": model,
            "verdict": verdict,
            "label": each.label if verdict is Verdict.CORRECTED else "",
            "text": each.label if verdict is Verdict.OTHER else "",
            "contributor": contributor,
        },
        str(each.path),
    )
