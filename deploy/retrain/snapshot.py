"""The observations that a run learned from: an image folder in the run's own folder.

    data/observations/metadata.csv     a row per photo, with its side of the split
    data/observations/photos/ID.jpg    the photo

The run stays as it was made when more observations come, and the next run knows what this one trained on.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attar.data.csvlist import METADATA
from attar.deploy.retrain.candidates import Candidate
from attar.errors import InputError
from attar.files import make_folder, replacing

COLUMNS = ("file_name", "label", "split", "id", "photo", "contributor", "latitude", "longitude", "reviewed")


@dataclass(frozen=True)
class Used:
    """An observation that is learned from, or held out."""

    candidate: Candidate
    side: str


def write_snapshot(folder: Path, used: Sequence[Used]) -> None:
    """Write the folder, or replace the one that is there."""
    make_folder(folder.parent)
    with replacing(folder) as temporary:
        make_folder(temporary / "photos")
        with (temporary / METADATA).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            for each in used:
                one = each.candidate
                shutil.copyfile(one.path, temporary / name_of(one.id))
                place = one.place or ("", "")
                row = [name_of(one.id), one.label, each.side, one.id, one.photo, one.contributor]
                writer.writerow([*row, *place, "yes" if one.reviewed else ""])


def name_of(id: str) -> str:
    """Where the photo of an observation lies."""
    return f"photos/{id}.jpg"


def read_snapshot(folder: Path) -> list[Used]:
    """What `write_snapshot` wrote; nothing where there is no such folder.

    Raises:
        InputError: it was changed by hand to something else.
    """
    path = folder / METADATA
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            if tuple(next(reader, ())) != COLUMNS:
                raise ValueError("other columns")
            return [_used(folder, dict(zip(COLUMNS, row, strict=True))) for row in reader]
        except (ValueError, csv.Error) as error:
            raise InputError(
                f"{path}, line {reader.line_num}: not what `attar retrain` wrote ({error}). Restore the file."
            ) from error


def _used(folder: Path, row: dict[str, str]) -> Used:
    if row["split"] not in ("train", "val") or row["file_name"] != name_of(row["id"]):
        raise ValueError("an unknown split or file")
    place = (float(row["latitude"]), float(row["longitude"])) if row["latitude"] else None
    candidate = Candidate(
        row["id"],
        row["photo"],
        folder / row["file_name"],
        row["label"],
        row["contributor"],
        place,
        row["reviewed"] == "yes",
    )
    return Used(candidate, row["split"])
