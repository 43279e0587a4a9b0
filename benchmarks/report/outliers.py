"""Files against photos of none of their classes: what familiarity tells apart, and what a threshold lets pass.

AUROC, AUPR and FPR95 as OpenOOD has them (arXiv 2306.09301, section 3), with the student's own photos as the positives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from sklearn.metrics import average_precision_score

from attar.benchmarks.inputs import photos_at
from attar.benchmarks.latency.measure import check_unchanged
from attar.bundle import Bundle
from attar.console import say
from attar.data.images import UnreadableImage, use_rgb
from attar.data.photos import Photo, Photos, in_threads, load_pixels
from attar.data.strange import PICTURES, pictures
from attar.errors import InputError, did_you_mean
from attar.export.capture_output import captured
from attar.export.manifest import FileEntry, read_manifest
from attar.export.runners import open_runner
from attar.export.runners.answers import answers_of, split
from attar.files import sha256
from attar.metrics import auroc
from attar.preprocessing import Preprocessing
from attar.sampling import spread

EACH = 32
"""Drawn pictures of each kind."""
RESAMPLES = 200
"""Of the bootstrap over both kinds of photos."""
KEPT = 0.95
"""Share of own photos that pass where FPR95 counts the others."""
NEAR, FAR, DRAWN = "near", "far", "drawn"
"""Kinds of others: things that look like the classes, such as classes that were held out; things that do not; pictures
of `attar.data.strange`."""


@dataclass(frozen=True)
class Outliers:
    """How a file tells its own photos from a set of others.

    Attributes:
        file: its name.
        others: the set: a folder, or what is drawn.
        kind: of the set, `NEAR`, `FAR` or `DRAWN`; None: a folder of which nothing is said.
        images: in the set.
        auroc: share of pairs in which the own photo is the more familiar one; `low` and `high`: its 95% interval.
        aupr: area under precision over recall, of own photos.
        fpr95: share of the set that passes where 95% of own photos do.
        passed: share of the set that the file's threshold lets pass; None: it has none.
    """

    file: str
    others: str
    kind: str | None
    images: int
    auroc: float
    low: float
    high: float
    aupr: float
    fpr95: float
    passed: float | None


@dataclass(frozen=True)
class _Set:
    """Others as the student takes them, `pixels` uint8 (N, S, S, 3)."""

    name: str
    kind: str | None
    pixels: np.ndarray


def kind_and_folder(text: str) -> tuple[str | None, Path]:
    """What `--outliers` means: `near=FOLDER`, `far=FOLDER`, or a folder alone.

    Raises:
        InputError: another word stands before the `=`, or nothing after it.
    """
    kind, equals, folder = text.partition("=")
    if not equals or "/" in kind or Path(text).exists():
        return None, Path(text)
    if kind not in (NEAR, FAR) or not folder:
        raise InputError(
            f"--outliers {text}: give near=FOLDER, far=FOLDER, or a folder alone.{did_you_mean(kind, (NEAR, FAR))}"
        )
    return kind, Path(folder)


def outliers(
    exports: Path, student: Bundle, photos: Photos, folders: Sequence[tuple[str | None, Path]], limit: int = 1000
) -> tuple[Outliers, ...]:
    """Hold each file with a familiarity against photos of something else, and against drawn pictures.

    Args:
        exports: folder with a manifest.json.
        student: that the files were made from.
        photos: the student's.
        folders: of photos that show none of its classes, each after its kind: `NEAR`, `FAR`, or None.
        limit: validation photos, and photos of each folder, at most.

    Raises:
        InputError: no file has a familiarity; no photo in a folder; or photos that the student was trained or
            validated on.
    """
    manifest = read_manifest(exports)
    entries = [entry for entry in manifest.files if "familiarity" in entry.signature]
    if not entries:
        raise InputError(
            f"{exports}: no file says how familiar a photo is. Make files that do, such as by attar export "
            f"{student.path} --familiarity default (docs/confidence.md)."
        )
    found = [(kind, str(folder), photos_at([folder])) for kind, folder in sorted(folders, key=_place)]
    _refuse_own(photos, [photo for *_, each in found for photo in each])
    how = student.preprocessing
    own = load_pixels(spread(photos.val, limit), how, "Reading validation photos")
    others = [_Set(name, kind, _read(spread(each, limit), how, name)) for kind, name, each in found]
    others += [_Set(name, DRAWN, np.stack([how(each) for each in pictures(name, EACH)])) for name in PICTURES]
    return tuple(row for entry in entries for row in _rows(exports, entry, own, others))


def _place(folder: tuple[str | None, Path]) -> int:
    """Near ones first, then far ones."""
    return (NEAR, FAR, None).index(folder[0])


def _rows(exports: Path, entry: FileEntry, own: np.ndarray, others: Sequence[_Set]) -> Iterator[Outliers]:
    check_unchanged(exports, entry)
    with captured():
        runner = open_runner(exports / entry.file)
    say(f"{entry.file} ...")
    known = _familiarity(runner, own)
    threshold = (entry.decision or {}).get("familiar", {}).get("threshold")
    for each in others:
        values = _familiarity(runner, each.pixels)
        passed = None if threshold is None else float((values >= threshold).mean())
        yield Outliers(entry.file, each.name, each.kind, len(values), **separation(known, values), passed=passed)


def _familiarity(runner: Any, pixels: np.ndarray) -> np.ndarray:
    _, familiarity = split(answers_of(runner, pixels), len(runner.labels))
    assert familiarity is not None
    return familiarity


def separation(own: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """How well scores of own photos, (N,), are above those of others, (M,): `auroc`, `low`, `high`, `aupr`, `fpr95`."""
    rng = np.random.default_rng(0)
    draws = [auroc(rng.choice(own, len(own)), rng.choice(other, len(other))) for _ in range(RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975])
    truth = np.r_[np.ones(len(own)), np.zeros(len(other))]
    return {
        "auroc": auroc(own, other),
        "low": float(low),
        "high": float(high),
        "aupr": float(average_precision_score(truth, np.r_[own, other])),
        "fpr95": fpr95(own, other),
    }


def fpr95(own: np.ndarray, other: np.ndarray) -> float:
    """Share of others' scores, (M,), that pass where 95% of own ones, (N,), do."""
    return float((other >= np.quantile(own, 1 - KEPT)).mean())


def _refuse_own(photos: Photos, others: Sequence[Photo]) -> None:
    """Refuse photos that are copies of the student's own, whatever they are called."""
    own: dict[int, list[Path]] = {}
    for photo in (*photos.train, *photos.val):
        if photo.part is None:
            own.setdefault(photo.path.stat().st_size, []).append(photo.path)
    digests: dict[int, set[str]] = {}
    for photo in others:
        size = photo.path.stat().st_size if photo.part is None else -1
        if size in own:
            known = digests.setdefault(size, {sha256(path) for path in own[size]})
            if sha256(photo.path) in known:
                raise InputError(
                    f"{photo.path}: a photo of the student's own classes, so it is no outlier. Give photos of "
                    "something else."
                )


def _read(photos: Sequence[Photo], how: Preprocessing, name: str) -> np.ndarray:
    """Photos as the student takes them, without those that cannot be read."""

    def one(photo: Photo) -> np.ndarray | None:
        try:
            return use_rgb(how, photo.path, photo.part)
        except UnreadableImage:
            return None

    images = [image for image in in_threads(one, photos) if image is not None]
    if not images:
        raise InputError(f"{name}: none of {len(photos)} photos can be read.")
    if len(images) < len(photos):
        say(f"{name}: {len(photos) - len(images)} of {len(photos)} photos cannot be read and are left out.")
    return np.stack(images)


def to_json(rows: Sequence[Outliers]) -> list[dict[str, Any]]:
    """As plain data."""
    return [asdict(row) for row in rows]


def outliers_table(rows: Sequence[Outliers]) -> Table:
    """For a person."""
    table = Table(header_style="bold", caption="Against the student's validation photos.", caption_justify="left")
    for title in ("File", "Kind", "Others", "Photos", "AUROC", "AUPR", "FPR95", "Passed"):
        table.add_column(title, justify="left" if title in ("File", "Kind", "Others") else "right", overflow="fold")
    for row in rows:
        interval = f"{100 * row.auroc:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        shares = [f"{100 * share:.0f}%" if share is not None else "" for share in (row.fpr95, row.passed)]
        others = (row.kind or "", Path(row.others).name, str(row.images))
        table.add_row(row.file, *others, interval, f"{100 * row.aupr:.1f}", *shares)
    return table
