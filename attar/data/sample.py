"""What a search for photos finds, whatever they lie in, before any is decoded."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attar.data.images import Part, shown
from attar.errors import InputError

TRAIN_NAMES = ("train", "training", "trn")
VAL_NAMES = ("val", "valid", "validation", "validate", "dev", "eval", "evaluation", "test", "testing")
"""Names of a held-out split; of several, the first that is there is the validation split."""

_ENDINGS = ("set", "split", "data", "images", "photos")


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo as found.

    Attributes:
        path: the file it is, or is part of.
        name: unique in its data set and the same on every machine.
        label: its class; empty for a photo without one.
        split: `train` or `val`, or None where attar is to split.
        part: where in the file it lies; None: it is the whole file.
    """

    path: Path
    name: str
    label: str
    split: str | None
    part: Part | None = None

    @property
    def shown(self) -> Path:
        """What messages call it."""
        return shown(self.path, self.part)


def normal(label: str) -> str:
    """macOS may decompose an accented letter in a folder's name; other systems do not. One class either way."""
    return unicodedata.normalize("NFC", label)


def split_word(name: str) -> str | None:
    """The split that a folder's name or a CSV's cell tells: `train`, one of `VAL_NAMES`, or None.

    Capitals, separators, a year and an ending such as `_set` do not count: `Training_Set` and `train2017` are `train`.
    """
    word = re.sub(r"[\s_.-]+", "", name.lower())
    word = re.sub(r"(19|20)\d\d$", "", word)
    ending = next((each for each in _ENDINGS if word.endswith(each) and word != each), "")
    word = word.removesuffix(ending)
    return "train" if word in TRAIN_NAMES else word if word in VAL_NAMES else None


def split_files(files: Sequence[Path]) -> list[tuple[Path, str | None]]:
    """Files that hold many photos, each with the split that its name tells, or else its folder's.

    `train-000.tar`, `flowers-validation-00.tar`, `test/000.parquet`. Unless there are training and held-out files,
    no name counts, and attar splits. Files of a second held-out split (`test` beside `val`) are left out.

    Raises:
        InputError: some names tell a split, and some do not.
    """
    named = [_split_name(path) for path in files]
    held_out = next((name for name in VAL_NAMES if name in named), None)
    if "train" not in named or held_out is None:
        return [(path, None) for path in files]
    if None in named:
        raise InputError(
            f"{files[named.index(None)]}: its name tells no split, but those of other files beside it do. "
            "Begin all names with train or val, or none."
        )
    of = {"train": "train", held_out: "val"}
    return [(path, of[name]) for path, name in zip(files, named) if name in of]


def _split_name(path: Path) -> str | None:
    words = [*re.split(r"[^a-z]+", path.stem.lower()), path.parent.name]
    return next((word for word in map(split_word, words) if word), None)
