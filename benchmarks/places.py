"""What a model says of labelled photos whose places are known, as `attar.geo.gain` takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attar.benchmarks.predict import BATCH, Model
from attar.console import say, track
from attar.data.photos import DataSpec, load_pixels, read_photos
from attar.errors import InputError
from attar.export.runners.answers import split
from attar.geo.gain import Asked
from attar.geo.places import Finder, as_arrays


def answers_with_places(model: Model, photos: Path) -> Asked:
    """Ask a model about photos that have a label and a place.

    Args:
        model: as `attar.benchmarks.predict.open_model` gives it.
        photos: as `attar run --data` takes them. A CSV with latitude and longitude says where they were taken, and else
            their EXIF. Photos without a place, or of other labels than the model's, are left out and counted.

    Raises:
        InputError: no such photos, or none that is left.
    """
    found = read_photos(DataSpec(str(photos)))
    number = {label: each for each, label in enumerate(model.labels)}
    every = [*found.train, *found.val]
    known = [photo for photo in every if found.labels[photo.label] in number]
    places = Finder([photos]).places(known)
    taken = [photo for photo, place in zip(known, places) if place]
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
        pixels = load_pixels(taken[start : start + BATCH], model.preprocessing)
        rows.append(split(model.answer(pixels), len(model.labels))[0])
    label = np.array([number[found.labels[photo.label]] for photo in taken], np.int64)
    _, degrees, days = as_arrays(places)
    return Asked(np.concatenate(rows), label, degrees, days)
