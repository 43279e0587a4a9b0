"""What a model says of labelled photos whose places are known, as `attar.geo.gain` takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attar.benchmarks.predict import BATCH, open_model
from attar.console import say, track
from attar.data.photos import DataSpec, Photo, load_pixels, read_photos
from attar.errors import InputError
from attar.export.runners.answers import split
from attar.geo.gain import Asked
from attar.geo.places import Place, as_arrays, has_places, places_in, read_places


def answers_with_places(
    model: Path, photos: Path, labels: Sequence[str] | None = None
) -> tuple[tuple[str, ...], Asked]:
    """Ask a model about photos that have a label and a place.

    Args:
        model: whatever `attar.benchmarks.predict.open_model` opens.
        photos: as `attar run --data` takes them. A CSV with latitude and longitude says where they were taken;
            otherwise their EXIF does. Photos without a place, or of other labels than the model's, are left out and
            counted.
        labels: of the model, to be sure; None: whichever it has.

    Returns:
        The model's labels, and its answers.

    Raises:
        InputError: no such model or photos, other labels, or no photo that is left.
    """
    asked = open_model(model)
    if labels is not None and tuple(labels) != asked.labels:
        raise InputError(f"{model}: has other labels than the student that --student names.")
    found = read_photos(DataSpec(str(photos)))
    number = {label: each for each, label in enumerate(asked.labels)}
    every = [*found.train, *found.val]
    known = [photo for photo in every if found.labels[photo.label] in number]
    places = places_of(known, photos)
    taken = [(photo, place) for photo, place in zip(known, places) if place]
    if not taken:
        raise InputError(
            f"{photos}: none of {len(every)} photos has a label of the model and a place, in EXIF or in columns "
            "latitude and longitude of a CSV."
        )
    if len(taken) < len(every):
        say(f"Left out: {len(every) - len(taken):,} photos without a place, or of labels that the model does not have")
    starts = range(0, len(taken), BATCH)
    rows = []
    for start in track(starts, "Asking the model", len(starts)):
        pixels = load_pixels([photo for photo, _ in taken[start : start + BATCH]], asked.preprocessing)
        rows.append(split(asked.answer(pixels), len(asked.labels))[0])
    label = np.array([number[found.labels[photo.label]] for photo, _ in taken], np.int64)
    _, degrees, days = as_arrays([place for _, place in taken])
    return asked.labels, Asked(np.concatenate(rows), label, degrees, days)


def places_of(photos: Sequence[Photo], source: Path) -> list[Place | None]:
    """Where photos were taken: by the table that listed them, if it says so, else by their EXIF."""
    if not has_places(source):
        return places_in(photos)
    table = read_places(source)
    return [table.get(photo.path.resolve()) for photo in photos]
