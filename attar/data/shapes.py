"""Photos that are much longer than wide, of which a centre crop loses the ends."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from attar.data.images import size_of
from attar.data.photos import Photos

LONG = 2.0
"""Longer side over shorter side above which a photo is long: its centre crop is less than half of it."""
SAMPLE = 200


def warned_of(photos: Photos, fit: str) -> Photos:
    """The same photos, with a warning if most of them are long and `fit` (`attar.preprocessing`) crops them."""
    if fit != "crop" or not photos.train:
        return photos
    sides = [size_of(photo.path, photo.part) for photo in photos.train[:: 1 + len(photos.train) // SAMPLE]]
    ratios = [max(each) / min(each) for each in sides if each]
    if not ratios or sum(ratio > LONG for ratio in ratios) * 2 <= len(ratios):
        return photos
    warning = (
        f"most training photos are more than {LONG:g} times as long as wide (median {median(ratios):.1f}): the centre "
        "crop loses their ends. Keep them with --set student.fit=squash, or between borders with student.fit=pad."
    )
    return replace(photos, warnings=(*photos.warnings, warning))
