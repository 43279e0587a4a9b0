"""Photos that come with an installed package, written to disk the way a user's would be.

A recipe names one as `data: {source: digits}`. Each source is a function that fills a folder and
returns the path for `DataSpec`; it is deterministic, so a second call writes the same files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from attar.console import say
from attar.data.photos import Photos, read_photos
from attar.data.shapes import warned_of
from attar.errors import InputError, MissingExtra, did_you_mean
from attar.files import replacing, write_text
from attar.train import distributed

if TYPE_CHECKING:
    from attar.recipe import DataPart


def digits(folder: Path) -> Path:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey, upscaled to 32 px RGB: `<class>/<number>.png`."""
    from sklearn.datasets import load_digits

    data = load_digits()
    target = folder / "digits"
    if target.is_dir():
        return target
    with replacing(target) as temporary:
        for number, (grey, label) in enumerate(zip(data.images, data.target)):
            image = Image.fromarray((grey * 255 / 16).round().astype("uint8"))
            place = temporary / str(label)
            place.mkdir(parents=True, exist_ok=True)
            image.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB").save(place / f"{number:04d}.png")
    return target


def elpv(folder: Path) -> Path:
    """2,624 photos of solar cells, functional or defective (Deitsch et al. 2019, arXiv 1807.02894).

    The package holds a defect probability of 0, 1/3, 2/3 or 1; as in the paper's binary task, 0.5 and
    above count as defective. Writes a CSV that points at the package's own files.
    """
    try:
        import elpv_dataset
    except ImportError as error:
        raise MissingExtra(
            'elpv-dataset is not installed; it holds the photos. Install it with: pip install "attar[recipes]"'
        ) from error
    data = Path(elpv_dataset.__file__).parent / "data"
    lines = (data / "labels.csv").read_text(encoding="utf-8").splitlines()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label"])
    for line in lines:
        name, probability, _kind = line.split()
        writer.writerow([data / name, "defective" if float(probability) >= 0.5 else "functional"])
    target = folder / "elpv.csv"
    if not target.is_file() or target.read_text(encoding="utf-8") != text.getvalue():
        write_text(target, text.getvalue())
    return target


def han(folder: Path, **options: object) -> Path:
    """Han characters, drawn in the typefaces of this machine: `attar.data.han`."""
    from attar.data.han import write

    return write(folder, options)


SOURCES: dict[str, Callable[..., Path]] = {"digits": digits, "elpv": elpv, "han": han}


def write_source(name: str, folder: Path, options: Mapping[str, object] | None = None) -> Path:
    """Write the photos of source `name` under `folder`; returns what `DataSpec.path` should be.

    Args:
        options: of the source, if it has any.
    """
    if name not in SOURCES:
        raise InputError(f"data source {name!r}: unknown ({', '.join(SOURCES)}).{did_you_mean(name, SOURCES)}")
    folder.mkdir(parents=True, exist_ok=True)
    return SOURCES[name](folder, **(options or {}))


def photos_of(
    data: DataPart, folder: Path, thorough: bool = False, keep: Path | None = None, fit: str = "crop"
) -> Photos:
    """A recipe's photos, written under `folder` first if they come from a source; says what was found.

    Args:
        data: the recipe's.
        folder: where a source writes its photos.
        thorough: as for `attar.data.photos.read_photos`.
        keep: the list of photos of a run, which stay on their sides.
        fit: how the student takes photos (`attar.preprocessing.FITS`), for the warning of long ones.
    """
    require_photos(data)
    with distributed.first_goes_first():
        path = write_source(data.source, folder, data.options) if data.source else data.path or ""
        photos = read_photos(replace(data.spec(path), keep=str(keep) if keep else None), thorough)
        photos = warned_of(photos, fit)
    for line in photos.block():
        say(line)
    return photos


def require_photos(data: DataPart) -> None:
    """Raise `InputError` if the recipe names no photos."""
    if not data.path and not data.source:
        raise InputError("No photos given. Add --data FOLDER, or data.path to the recipe.")
