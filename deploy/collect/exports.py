"""Observations as a folder that others can read.

    metadata.csv       one row per observation (`attar.data.observations`)
    photos/ID.jpg      its photo
    label-studio/      tasks and the labelling interface for Label Studio (`label_studio`)
    darwin-core/       occurrences for those who share biodiversity data (`darwin_core`)

Hugging Face's `imagefolder` reads the first two (datasets, "Image classification"), and so does `attar run --data
FOLDER`. What reviewers rejected is left out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attar.data.csvlist import METADATA
from attar.data.observations import Review, write_metadata
from attar.deploy.collect.darwin_core import write_occurrences
from attar.deploy.collect.label_studio import write_tasks
from attar.deploy.collect.reviewed import Reviewed, reviewed
from attar.deploy.collect.store import Store
from attar.errors import InputError
from attar.files import make_folder, replacing


@dataclass(frozen=True)
class Exported:
    """How many observations an export holds.

    Attributes:
        observations: in the folder.
        labelled: those of them that have a label.
        reviewed: those of them that a reviewer decided about.
        rejected: left out because a reviewer rejected them.
        waiting: left out because nobody has reviewed them, if only reviewed ones were asked for.
    """

    observations: int
    labelled: int
    reviewed: int
    rejected: int
    waiting: int


def export_folder(
    store: Store, folder: Path, *, only_reviewed: bool = False, label_studio: bool = False, darwin_core: bool = False
) -> Exported:
    """Write observations and their photos to a new folder.

    Args:
        store: where they are kept.
        folder: to write; must not exist, or be empty.
        only_reviewed: leave out what nobody has reviewed.
        label_studio: add tasks for Label Studio.
        darwin_core: add a table of occurrences.

    Raises:
        InputError: the folder holds something, nothing is there to export, or the disk refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: there is something already. Name a new folder.")
    every = list(reviewed(store))
    rejected = [each for each in every if each.review is Review.REJECT]
    waiting = [each for each in every if only_reviewed and each.review is Review.NONE]
    left = {each.stored.number for each in (*rejected, *waiting)}
    chosen = [each for each in every if each.stored.number not in left]
    if not chosen:
        counts = f"{len(every)} in all, {len(rejected)} rejected, {len(waiting)} not reviewed"
        raise InputError(f"{store.folder}: no observations to export ({counts}).")
    with replacing(folder) as temporary:
        make_folder(temporary / "photos")
        for each in chosen:
            shutil.copyfile(_photo(store, each), temporary / name_of(each))
        rows = [each.row(name_of(each)) for each in chosen]
        _write(temporary / METADATA, write_metadata(rows))
        if label_studio:
            write_tasks(temporary / "label-studio", chosen, root=folder.name)
        if darwin_core:
            make_folder(temporary / "darwin-core")
            _write(temporary / "darwin-core" / "occurrence.csv", write_occurrences(rows))
    known = sum(bool(each.label) for each in chosen)
    decided = sum(each.review is not Review.NONE for each in chosen)
    return Exported(len(chosen), known, decided, len(rejected), len(waiting))


def name_of(each: Reviewed) -> str:
    """Where its photo lies in an export. Two observations of one photo have a file each, so that each has its row."""
    return f"photos/{each.stored.observation.id}.jpg"


def _photo(store: Store, each: Reviewed) -> Path:
    path = store.photo(each.stored.photo)
    if not path.is_file():
        raise InputError(f"{path}: the photo of observation {each.stored.observation.id} is gone. Restore the file.")
    return path


def _write(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(lines)
