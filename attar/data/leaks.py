"""The same photo twice: in training and validation, or in two classes.

Copies are photos of equal bytes. Near-copies look alike: resized, recompressed or one moment apart; they are only
warned of, because photos of a fixed camera may rightly look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from attar.data.foldertree import Skipped
from attar.data.sample import Sample

_SIDE = 8
_ALIKE = 0.9985
"""Correlation of two small pictures from which on they count as alike. Photos made smaller by a third and saved with
JPEG quality 60 reach it in 9 of 10 cases; of the 1,797 digits of scikit-learn no two reach it. (A difference hash of
128 bits does worse at both: the signs of small differences are noise.)"""

RESAVED = 0.997
"""Correlation from which on a photo counts as another one that was saved anew. Digits and solar cells that are made
smaller by a third and saved with JPEG quality 60 are above it, and two others are below it in 999 of 1,000 cases
(tests/attar/data/test_leaks.py). A photo that was cropped is not found, nor one without contrast."""

_MIN_CONTRAST = 8.0
"""Standard deviation of the small picture, in levels of 255, below which a photo has no features to compare."""

MAX_PAIRS = 4_000_000_000


def look(image: Image.Image) -> str:
    """A photo as 8 x 8 grey levels, to be compared by correlation: 64 bytes as hexadecimal digits.

    Pictures this small still tell what is seen (A. Torralba et al., "80 Million Tiny Images", 2008). An empty string
    for a photo without contrast.
    """
    large = max(1, min(image.size) // (32 * _SIDE))
    image = image.reduce(large) if large > 1 else image
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR).convert("L")
    grey = np.asarray(small)
    return "" if grey.std() < _MIN_CONTRAST else grey.tobytes().hex()


def copies(items: Sequence[Sample], digests: Mapping[str, str]) -> dict[str, list[Sample]]:
    """The photos that are there more than once, by content."""
    groups: dict[str, list[Sample]] = {}
    for item in items:
        groups.setdefault(digests[item.name], []).append(item)
    return {digest: group for digest, group in groups.items() if len(group) > 1}


def of_two_labels(groups: Mapping[str, Sequence[Sample]]) -> list[Skipped]:
    """Copies that lie in different classes: all of them, since nobody knows which label is right."""
    left_out = []
    for group in groups.values():
        if len({item.label for item in group}) > 1:
            for item in group:
                other = next(each for each in group if each.label != item.label)
                reason = f"labelled {item.label!r}, and its copy {other.name} is labelled {other.label!r}"
                left_out.append(Skipped(item.shown, reason))
    return left_out


def of_two_splits(groups: Mapping[str, Sequence[Sample]]) -> list[Skipped]:
    """Training photos whose copy is a validation photo in the user's own split."""
    left_out = []
    for group in groups.values():
        held = next((item for item in group if item.split == "val"), None)
        if held is not None:
            reason = f"the same photo is a validation photo, {held.name}"
            left_out += [Skipped(item.shown, reason) for item in group if item.split == "train"]
    return left_out


def near_copies(train: Mapping[str, str], val: Mapping[str, str], alike: float = _ALIKE) -> list[tuple[str, str]]:
    """Validation photos that look like a training photo, each with the most similar one; names to looks are given.

    `alike` is the correlation from which on they do. Of more than 4,000 million pairs, which take minutes, none are
    compared.
    """
    seen, held = _unit(train), _unit(val)
    pairs = []
    if not len(seen[0]) or len(seen[0]) * len(held[0]) > MAX_PAIRS:
        return []
    for first in range(0, len(held[0]), 256):
        near = held[1][first : first + 256] @ seen[1].T
        nearest = near.argmax(1)
        best = near[np.arange(len(near)), nearest]
        pairs += [(held[0][first + i], seen[0][nearest[i]]) for i in np.flatnonzero(best > alike)]
    return pairs


def _unit(looks: Mapping[str, str]) -> tuple[list[str], Any]:
    """Names, and their small pictures without mean and of unit length, float32 (photos, 64)."""
    names = [name for name, value in looks.items() if value]
    content = bytes.fromhex("".join(looks[name] for name in names))
    grey = np.frombuffer(content, dtype=np.uint8).reshape(-1, _SIDE * _SIDE).astype(np.float32)
    grey -= grey.mean(1, keepdims=True)
    grey /= np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)
    return names, grey
