"""A user's labelled photos: found on disk, checked by decoding, split into train and validation.

Ways to lay them out:

    photos/rose/1.jpg ...                    a folder a class; split here, stratified, by a fixed seed
    photos/train/rose/1.jpg, photos/val/...  the same with the user's own split
    photos.csv                               columns path,label and, if wanted, split (train or val);
                                             paths are relative to the CSV file

`torchvision.datasets.INaturalist`'s folders (`2021_train/`, `2021_valid/`, `2017/` ...), and photos packed many to a
file: `attar.shards` (tar, WebDataset) and `attar.tables` (Arrow and parquet, Hugging Face datasets).

Beside them there may be a folder of photos without labels, laid out anyhow: for a student that learns from its
teacher alone.

A photo that cannot be read is set aside by name and the work goes on. Photos are decoded once to
check them; what was found is remembered (by size and modification time) in the user's cache folder.
"""

from __future__ import annotations

import csv
import hashlib
import os
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from attar import __version__
from attar.console import track
from attar.errors import AttarError, InputError
from attar.files import digest_of, read_json, user_cache, write_json
from attar.found import VAL_NAMES, Found, normal
from attar.images import SUFFIXES, Part, UnreadableImage, open_photo, shown, use_rgb
from attar.packed import in_packed, is_packed
from attar.preprocessing import Preprocessing

_INATURALIST_TRAIN = ("2021_train", "2021_train_mini")
_INATURALIST_NESTED = ("2017", "2018", "2019")


@dataclass(frozen=True)
class DataSpec:
    """Where photos are and how to split them: all that is needed to read the same photos again."""

    path: str
    val_fraction: float = 0.25
    seed: int = 0
    unlabelled: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Photo:
    """One photo: a file, or a `part` of one; `label` indexes `Photos.labels`, and is -1 for a photo without one."""

    path: Path
    label: int
    part: Part | None = None

    @property
    def shown(self) -> Path:
        """What messages and reports call it."""
        return shown(self.path, self.part)


@dataclass(frozen=True)
class SetAside:
    """A file that looked like a photo and could not be used."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Photos:
    """A data set: labels in order, the two splits in a deterministic order, and what was left out."""

    spec: DataSpec
    labels: tuple[str, ...]
    train: tuple[Photo, ...]
    val: tuple[Photo, ...]
    set_aside: tuple[SetAside, ...] = ()
    fingerprint: str = field(default="")
    """SHA-256 over every used photo's (name, label, split, content): the identity of the labelled data."""
    unlabelled: tuple[Photo, ...] = ()
    unlabelled_fingerprint: str = field(default="")
    """SHA-256 over every photo without a label; empty if there are none."""

    def summary(self) -> str:
        """One line for a person."""
        text = f"{len(self.labels)} classes, {len(self.train)} training and {len(self.val)} validation photos"
        text += f", {len(self.unlabelled)} without labels" if self.unlabelled else ""
        return text + (f", {len(self.set_aside)} set aside" if self.set_aside else "")


def read_photos(spec: DataSpec) -> Photos:
    """Find, check and split the photos that `spec` names.

    Raises `InputError` when there are none, only one class, a class too small to split, or a
    validation class that training lacks.
    """
    root = Path(spec.path).expanduser()
    if not root.exists() and not is_packed(root):
        raise InputError(f"{root}: no such folder or CSV file. Give --data a folder of class/photo.jpg.")
    if not 0 < spec.val_fraction < 1:
        raise InputError(f"val_fraction: {spec.val_fraction} is not between 0 and 1.")
    unlabelled = Path(spec.unlabelled).expanduser() if spec.unlabelled else None
    try:
        found = _find(root, unlabelled)
    except OSError as error:
        raise InputError(f"{error.filename or root}: cannot be read ({error.strerror}).") from error
    if not found:
        raise InputError(
            f"{root}: no images found. Expected a folder a class with photos in it "
            "(.jpg, .png, .webp, .tif ...), train/ and val/ folders of those, a CSV of path,label, tar shards, "
            "or Arrow or parquet files."
        )
    digests, set_aside = _check(root, found)
    usable = [item for item in found if item.name in digests]
    labels = tuple(sorted({item.label for item in usable}))
    _refuse_unusable(root, labels, found, set_aside)
    _refuse_odd_labels(root, labels)
    index = {label: i for i, label in enumerate(labels)}
    splits = _split(root, usable, spec)
    both: dict[str, list[Photo]] = {"train": [], "val": []}
    for item, split in zip(usable, splits):
        both[split].append(Photo(item.path, index[item.label], item.part))
    _refuse_gaps(root, labels, both["train"], both["val"])
    fingerprint = digest_of([[i.name, i.label, s, digests[i.name]] for i, s in zip(usable, splits)])
    photos = Photos(spec, labels, tuple(both["train"]), tuple(both["val"]), tuple(set_aside), fingerprint)
    return photos if unlabelled is None else _with_unlabelled(photos, unlabelled, set(digests.values()))


def _with_unlabelled(photos: Photos, place: Path, known: set[str]) -> Photos:
    """Add the photos at `place`, but for those of the labelled data: no validation photo may be trained on."""
    if not place.is_dir() and not is_packed(place):
        raise InputError(f"{place}: no such folder. data.unlabelled names a folder of photos without labels.")
    files = _images(place) if place.is_dir() else []
    found = [Found(path, path.relative_to(place).as_posix(), "", None) for path in files]
    found = found or in_packed(place, labelled=False)
    digests, set_aside = _check(place, found)
    fresh = [item for item in found if digests.get(item.name, "") not in known]
    copies = [item for item in found if digests.get(item.name, "") in known]
    set_aside += [SetAside(item.shown, "the same photo is among the labelled ones") for item in copies]
    used = [item for item in fresh if item.name in digests]
    if not used:
        raise InputError(f"{place}: no photo that can be used as an unlabelled one ({len(set_aside)} set aside).")
    return replace(
        photos,
        unlabelled=tuple(Photo(item.path, -1, item.part) for item in used),
        unlabelled_fingerprint=digest_of([[item.name, digests[item.name]] for item in used]),
        set_aside=(*photos.set_aside, *set_aside),
    )


def load_pixels(photos: Sequence[Photo], preprocessing: Preprocessing, title: str | None = None) -> np.ndarray:
    """Decode and preprocess photos, in order -> uint8 array (len(photos), size, size, 3)."""
    pixels = np.empty((len(photos), preprocessing.size, preprocessing.size, 3), dtype=np.uint8)

    def load(position: int) -> None:
        photo = photos[position]
        try:
            pixels[position] = use_rgb(preprocessing, photo.path, photo.part)
        except UnreadableImage as error:
            raise InputError(f"{photo.shown}: changed since it was checked: {error}.") from error

    for _ in in_threads(load, range(len(photos)), title):
        pass
    return pixels


def labels_of(photos: Sequence[Photo]) -> np.ndarray:
    """Class indices, int64, shape (len(photos),)."""
    return np.array([photo.label for photo in photos], dtype=np.int64)


def in_threads(function: Callable[[Any], Any], items: Iterable[Any], title: str | None = None) -> Iterable[Any]:
    """Map in order over a few threads (Pillow and NumPy release the interpreter lock), with progress."""
    items = list(items)
    pool = ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1))
    try:
        results = _ahead(pool, function, items)
        yield from track(results, title, len(items)) if title else results
    finally:
        # After an error or Ctrl-C the items that wait are dropped, not worked through first.
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """`pool.map` with a bounded number of items under way: a million at once would take gigabytes."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > 1000:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


# --- finding -------------------------------------------------------------------------------------


def _find(root: Path, unlabelled: Path | None) -> list[Found]:
    if is_packed(root):
        return in_packed(root)
    # A folder of photos may hold an archive besides; one of shards holds no photos.
    return _from_csv(root) if root.is_file() else _from_folder(root, unlabelled) or in_packed(root)


def _from_folder(root: Path, unlabelled: Path | None = None) -> list[Found]:
    """Photos below `root`, whose subfolder `unlabelled` is no class, if it lies there."""
    if unlabelled is not None and unlabelled.resolve().is_relative_to(root.resolve()):
        inside = unlabelled.resolve()
        return [item for item in _from_folder(root) if not item.path.resolve().is_relative_to(inside)]
    folders = {entry.name: entry for entry in _subfolders(root)}
    train = next((folders[name] for name in _INATURALIST_TRAIN if name in folders), None)
    if train is not None:
        label = _species_of([entry.name for entry in _subfolders(train)])
        if "2021_valid" not in folders:
            return _class_folders(root, train, None, label)
        return _class_folders(root, train, "train", label) + _class_folders(root, folders["2021_valid"], "val", label)
    for year in _INATURALIST_NESTED:
        if year in folders:
            return [
                item
                for group in _subfolders(folders[year])
                for item in _class_folders(root, group, None, f"{group.name}/{{}}".format)
            ]
    val = next((folders[name] for name in VAL_NAMES if name in folders), None)
    if "train" in folders and val is not None:
        return _class_folders(root, folders["train"], "train") + _class_folders(root, val, "val")
    if "train" in folders and len(folders) == 1:
        return _class_folders(root, folders["train"], None)
    return _class_folders(root, root, None)


def _class_folders(root: Path, folder: Path, split: str | None, label: Callable[[str], str] = str) -> list[Found]:
    return [
        Found(path, path.relative_to(root).as_posix(), normal(label(entry.name)), split)
        for entry in _subfolders(folder)
        for path in _images(entry)
    ]


def _images(folder: Path) -> list[Path]:
    """Files anywhere below `folder` that are photos by their names, in order."""
    names = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES)
    return [path for path in names if not path.name.startswith(".") and path.is_file()]


def _subfolders(folder: Path) -> list[Path]:
    """Folders that may hold photos: not hidden ones, nor what macOS adds to a zip file."""
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "__MACOSX"))]


def _species_of(folders: Sequence[str]) -> Callable[[str], str]:
    """`00012_Plantae_..._Rosa_canina` -> `Rosa canina`, as iNaturalist 2021 names its folders.

    A name that two folders share (a plant and an animal may) stays the whole folder name.
    """

    def species(folder: str) -> str:
        parts = folder.split("_")
        return " ".join(parts[-2:]) if len(parts) == 8 and parts[0].isdigit() else folder

    count = Counter(species(folder) for folder in folders)
    return lambda folder: species(folder) if count[species(folder)] <= 1 else folder


def _from_csv(path: Path) -> list[Found]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise InputError(f"{path}: the first line must name the columns path,label (and split, if wanted).")
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a UTF-8 CSV file ({error}).") from error
    found, seen = [], set()
    for line, row in rows:
        name, label, split = ((row.get(key) or "").strip() for key in ("path", "label", "split"))
        if not name or not label or split not in ("", "train", "val"):
            raise InputError(f"{path}, line {line}: needs a path, a label, and a split of train, val or nothing.")
        place = Path(os.path.normpath(path.parent / name))
        if place in seen:
            raise InputError(f"{path}, line {line}: {name} is listed twice. Keep one line a photo.")
        seen.add(place)
        found.append(Found(place, name, normal(label), split or None))
    if len({item.split is None for item in found}) > 1:
        raise InputError(f"{path}: some lines have a split and some do not. Fill the column for all, or for none.")
    return found


# --- checking ------------------------------------------------------------------------------------


def _check(root: Path, found: Sequence[Found]) -> tuple[dict[str, str], list[SetAside]]:
    """Decode every photo not decoded before -> content hashes of the good ones by name, and the bad ones."""
    memory = _memory(root)
    known = _recall(memory)

    def check(item: Found) -> list[Any]:
        try:
            stat = item.path.stat()
        except OSError:
            return [0, 0, None, "no such file"]
        before = known.get(item.name)
        place = [item.part.offset, item.part.size] if item.part else []
        stamp = [[stat.st_size, *place], stat.st_mtime_ns]
        if before and before[:2] == stamp:
            return before
        try:
            use_rgb(lambda image: None, item.path, item.part)
        except UnreadableImage as error:
            return [*stamp, None, str(error)]
        with open_photo(item.path, item.part) as stream:
            return [*stamp, hashlib.file_digest(stream, "sha256").hexdigest(), None]

    results = dict(zip((item.name for item in found), in_threads(check, found, "Checking photos")))
    if results != known:
        try:
            write_json(memory, results)
        except AttarError:
            pass  # only a memory: without it the next command checks the photos again
    digests = {item.name: results[item.name][2] for item in found if results[item.name][2]}
    bad = [SetAside(item.shown, results[item.name][3]) for item in found if not results[item.name][2]]
    return digests, bad


def _memory(root: Path) -> Path:
    # Another attar or Pillow may judge a photo differently.
    key = digest_of([str(root.resolve()), __version__, PIL.__version__])
    return user_cache() / "photos" / f"{key[:24]}.json"


def _recall(memory: Path) -> dict[str, Any]:
    try:
        value = read_json(memory)
    except InputError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: entry for name, entry in value.items() if isinstance(entry, list) and len(entry) == 4}


def _refuse_unusable(root: Path, labels: Sequence[str], found: Sequence[Found], bad: Sequence[SetAside]) -> None:
    if not labels:
        raise InputError(
            f"{root}: none of its {len(found)} images can be read. The first: {bad[0].path}: {bad[0].reason}."
        )
    if len(labels) == 1:
        raise InputError(
            f"{root}: only one class ({labels[0]!r}) has readable photos, and a classifier needs two. "
            "Put each class's photos into a folder of its own."
        )
    lost = sorted({item.label for item in found} - set(labels))
    if lost:
        members = {item.shown for item in found if item.label == lost[0]}
        reason = next(item for item in bad if item.path in members)
        raise InputError(
            f"{root}: no photo of class {lost[0]!r} can be read. The first: {reason.path}: {reason.reason}. "
            f"Mend its photos or remove the class{f' (likewise {len(lost) - 1} more)' if len(lost) > 1 else ''}."
        )


def _refuse_odd_labels(root: Path, labels: Sequence[str]) -> None:
    """Labels travel inside phone files, one a line, as UTF-8."""
    for label in labels:
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in label):
            raise InputError(f"{root}: class {label!r}: its name is not one line of UTF-8 text. Rename it.")


# --- splitting -----------------------------------------------------------------------------------


def _split(root: Path, usable: Sequence[Found], spec: DataSpec) -> list[str]:
    """The split of each photo: the user's own, or a stratified one by `spec.seed`."""
    if usable[0].split is not None:
        return [str(item.split) for item in usable]
    from sklearn.model_selection import train_test_split

    lone = sorted(label for label, count in Counter(item.label for item in usable).items() if count == 1)
    if lone:
        raise InputError(
            f"{root}: class {lone[0]!r} has only one readable photo, and training and validation need one each. "
            f"Add photos or remove the class{f' (likewise {len(lone) - 1} more)' if len(lone) > 1 else ''}."
        )
    labels = [item.label for item in usable]
    count = max(len(set(labels)), round(len(usable) * spec.val_fraction))
    count = min(count, len(usable) - len(set(labels)))
    _, val = train_test_split(np.arange(len(usable)), test_size=count, random_state=spec.seed, stratify=labels)
    chosen = set(val.tolist())
    by_label: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        by_label.setdefault(label, []).append(i)
    for members in by_label.values():
        # Among large classes scikit-learn may leave a class of two or three out of one side.
        if chosen.isdisjoint(members):
            chosen.add(members[0])
        elif chosen.issuperset(members):
            chosen.remove(members[0])
    return ["val" if i in chosen else "train" for i in range(len(usable))]


def _refuse_gaps(root: Path, labels: Sequence[str], train: Sequence[Photo], val: Sequence[Photo]) -> None:
    missing = sorted(set(range(len(labels))) - {photo.label for photo in train})
    if missing:
        raise InputError(
            f"{root}: class {labels[missing[0]]!r} has no readable training photo. Add some, or remove the class."
        )
    if not val:
        raise InputError(f"{root}: no readable validation photo. Add some to val/, or leave the split to attar.")
