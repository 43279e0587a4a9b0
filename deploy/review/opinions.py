"""A second model's answers about collected photos, most of all the teacher's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attar.benchmarks.predict import Model
from attar.data.images import UnreadableImage, use_rgb
from attar.deploy.collect.store import Opinion, Store
from attar.files import digest_of

BATCH = 32
"""Photos that are in memory at once, as the model takes them."""
TOP = 5
"""Labels kept of each answer."""


def name_of(model: Model, content: str) -> str:
    """What a model's opinions are kept under: its content, its labels, and how it is given a photo.

    Args:
        model: to be asked.
        content: digest of its weights or file.
    """
    return digest_of([content, list(model.labels), model.preprocessing.to_json()])


def ask(store: Store, model: Model, name: str, going_on: Callable[[], bool] = lambda: True) -> int:
    """Ask a model about the photos that it was not asked about yet -> how many there were.

    Args:
        store: what was collected.
        model: to be asked.
        name: what its opinions are kept under.
        going_on: asked before each batch; False ends it there.
    """
    photos = store.without_opinion(name)
    for start in range(0, len(photos), BATCH):
        if not going_on():
            return start
        store.keep_opinions(name, _asked(store, model, photos[start : start + BATCH]))
    return len(photos)


def _asked(store: Store, model: Model, photos: list[str]) -> dict[str, Opinion]:
    opinions: dict[str, Opinion] = {photo: [] for photo in photos}
    images = {}
    for photo in photos:
        try:
            images[photo] = use_rgb(model.preprocessing, store.photo(photo))
        except UnreadableImage:
            continue  # gone or damaged on disk: nobody's opinion, and the page shows that it is missing
    if images:
        for photo, shares in zip(images, model.answer(np.stack(list(images.values())))):
            best = np.argsort(-shares, kind="stable")[:TOP]
            opinions[photo] = [(model.labels[each], round(float(shares[each]), 6)) for each in best]
    return opinions
