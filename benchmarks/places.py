"""What a model says of labelled photos whose places are known, as `attar.geo.gain` takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.predict import BATCH, Model
from attar.console import say, track
from attar.data.photos import DataSpec, Photo, Photos, load_pixels, read_photos
from attar.errors import InputError
from attar.export.runners.answers import split
from attar.geo.files import load_folds
from attar.geo.gain import Asked, fit_combination, refuse_few
from attar.geo.located import open_located
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
    every = (*found.train, *found.val)
    answered = _answered(model, every, found.labels, photos)
    if answered is None:
        raise InputError(
            f"{photos}: none of {len(every)} photos has a label of the model and a place, in EXIF or in columns "
            "latitude and longitude of a CSV."
        )
    if len(answered.label) < len(every):
        left = len(every) - len(answered.label)
        say(f"Left out: {left:,} photos without a place, or of labels that the model does not have")
    return answered


def gain_with_place(model: Model, photos: Photos, prior: Path) -> dict[str, Any] | None:
    """What a model's answers about the validation photos gain by a prior, as `attar.geo.gain` tells it.

    Args:
        model: as `attar.benchmarks.predict.open_model` gives it.
        photos: those that it was made from; their places come from a CSV's columns, and else from EXIF.
        prior: folder of a prior of the model's labels.

    Returns:
        Plain data as of `attar.geo.gain.fit_combination`; None where no validation photo has a place.

    Raises:
        InputError: no prior, or one of other labels; it has no priors of folds; too few photos or cells to tell.
    """
    located = open_located(prior, model.labels)
    answered = _answered(model, photos.val, photos.labels, Path(photos.spec.path))
    if answered is None:
        return None
    refuse_few(answered)
    held = load_folds(prior)
    if held is None:
        raise InputError(
            f"{prior}: was fitted without photos, so what they gain in places that it has not seen cannot be told. Fit "
            "it anew with: attar geo TABLE --model RUN --photos CSV"
        )
    order = [model.labels.index(label) for label in located.prior.labels]
    asked = replace(answered, probabilities=answered.probabilities[:, order], label=np.argsort(order)[answered.label])
    return fit_combination(held, located.prior.observed, asked)[1]


def _answered(model: Model, photos: Sequence[Photo], labels: Sequence[str], source: Path) -> Asked | None:
    """What a model says of those photos that have one of its labels and a place; None where there are none."""
    number = {label: each for each, label in enumerate(model.labels)}
    known = [photo for photo in photos if labels[photo.label] in number]
    places = Finder([source]).places(known)
    taken = [photo for photo, place in zip(known, places) if place]
    if not taken:
        return None
    starts = range(0, len(taken), BATCH)
    rows = []
    for start in track(starts, "Asking the model", len(starts)):
        pixels = load_pixels(taken[start : start + BATCH], model.preprocessing)
        rows.append(split(model.answer(pixels), len(model.labels))[0])
    label = np.array([number[labels[photo.label]] for photo in taken], np.int64)
    _, degrees, days = as_arrays(places)
    return Asked(np.concatenate(rows), label, degrees, days)
