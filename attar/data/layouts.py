"""Which folder is a class, which is a split, and which is neither.

    photos/rose/1.jpg                        a folder per class
    photos/train/rose/1.jpg, photos/val/...  the same below folders of splits, in any usual spelling
    photos/rose/train/1.jpg                  folders of splits inside each class
    photos/2021_train/..., photos/2017/...   `torchvision.datasets.INaturalist`

What was recognized is said, and so is what was left out. A class that would vanish is an error.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attar.data.foldertree import NO_TARGET, READ_ALREADY, Folder, Skipped, scan
from attar.data.sample import VAL_NAMES, Sample, normal, split_word
from attar.errors import InputError, in_line

_INATURALIST_TRAIN = ("2021_train", "2021_train_mini")
_INATURALIST_NESTED = ("2017", "2018", "2019")

OUTER, INNER = "outer", "inner"
"""What names a class: the folder right below the root or split, or the folder that a photo lies in."""


@dataclass(frozen=True)
class Layout:
    """The photos that were found and how they were read.

    Attributes:
        samples: the photos, class by class.
        kind: the layout that was recognized, for a person.
        notes: what a person should know of it, such as folders that were read as one class.
        skipped: what was left out.
    """

    samples: list[Sample]
    kind: str
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def read_layout(root: Path, unlabelled: Path | None = None, classes: str = OUTER) -> Layout:
    """The photos below `root`, but for those in its subfolder `unlabelled`.

    Raises:
        InputError: a class without photos, splits that cannot be told from classes, a folder that cannot be read or
            that attar wrote.
    """
    top = scan(root, unlabelled)
    left_out = tuple(top.all_skipped())
    if not any(folder.photos for folder in top.walk()):
        return Layout([], "", skipped=left_out)
    holder, kind, parts = _recognized(_unwrapped(top), root)
    if not parts:
        parts, kind = _class_parts(holder, kind)
    label = _labels(classes)
    samples: list[Sample] = []
    for part in parts:
        samples += part.photos(root, label)
    _refuse_vanished(root, parts)
    notes = [*_loose(top, holder, parts), *_nested_note(parts, classes), *_other_files(top)]
    stray = _stray(holder, parts)
    return Layout(samples, kind, tuple(notes), (*stray, *left_out))


@dataclass(frozen=True)
class _Part:
    """Folders of classes, of one split."""

    folders: Sequence[Folder]
    split: str | None
    label: Callable[[str], str] = str
    holder: Folder | None = None
    inner_splits: str | None = None
    """Where each class folder holds folders of splits: the name of the held-out one."""

    def photos(self, root: Path, label: Callable[[str, Path], str]) -> list[Sample]:
        """The photos of all its classes."""
        return [
            Sample(path, path.relative_to(root).as_posix(), normal(label(self.label(folder.name), path)), split)
            for folder in self.folders
            for path in folder.all_photos()
            if (split := self._split_of(folder, path)) != "other"
        ]

    def _split_of(self, folder: Folder, path: Path) -> str | None:
        if self.inner_splits is None:
            return self.split
        word = split_word(path.relative_to(folder.path).parts[0])
        return "train" if word == "train" else "val" if word == self.inner_splits else "other"


def _labels(classes: str) -> Callable[[str, Path], str]:
    return (lambda outer, path: path.parent.name) if classes == INNER else (lambda outer, path: outer)


def _unwrapped(top: Folder) -> Folder:
    """The folder of splits where an archive put them into a folder of its own."""
    while len(inside := top.with_photos()) == 1 and not top.photos and split_word(inside[0].name) is None:
        words = {split_word(each.name) for each in inside[0].with_photos()}
        if not {"train"} < words - {None}:
            break
        top = inside[0]
    return top


def _recognized(top: Folder, root: Path) -> tuple[Folder, str, list[_Part]]:
    """The folder that was read, its layout, and folders of splits; none where the folders are classes."""
    where = "" if top.path == root else f", below {in_line(top.path.relative_to(root))}/"
    folders = {each.name: each for each in top.folders}
    for name in _INATURALIST_TRAIN:
        if name in folders:
            return top, "iNaturalist 2021", _inaturalist(folders, folders[name])
    for year in _INATURALIST_NESTED:
        if year in folders:
            groups = folders[year].folders
            named = [_Part(group.folders, None, f"{group.name}/{{}}".format, group) for group in groups]
            return top, f"iNaturalist {year}", named
    held = sorted(
        (each for each in top.with_photos() if split_word(each.name) in VAL_NAMES),
        key=lambda each: VAL_NAMES.index(split_word(each.name) or ""),
    )
    held = held or [each for each in top.folders if split_word(each.name) in VAL_NAMES and each.folders]
    train = [each for each in top.with_photos() if split_word(each.name) == "train"]
    if len(train) > 1:
        raise InputError(
            f"{top.path}: {_names(train)} are all named as training photos. Keep one folder of training photos."
        )
    if train and held and _is_split(top, train[0]):
        parts = [_Part(train[0].folders, "train", holder=train[0]), _Part(held[0].folders, "val", holder=held[0])]
        return top, f"a folder per class, in {train[0].name}/ and {held[0].name}/{where}", parts
    if train and not held and _stands_alone(top, train[0]):
        kind = f"a folder per class in {train[0].name}/, split by attar{where}"
        return top, kind, [_Part(train[0].folders, None, holder=train[0])]
    if held and not train and all(split_word(each.name) for each in top.with_photos()):
        raise InputError(
            f"{top.path}: {_names(held)} but no training folder. Add train/, or give --data one folder with a folder "
            "per class."
        )
    return top, f"a folder per class, split by attar{where}", []


def _is_split(top: Folder, train: Folder) -> bool:
    """Whether a folder `train` beside a held-out one is a split; it may be a class, with photos right in it."""
    if train.with_photos():
        return True
    if all(split_word(each.name) for each in top.with_photos()):
        raise InputError(
            f"{train.path}: holds photos but no folder per class, so their classes are not known. Sort them into "
            "folders named after their classes, or write a CSV of path,label,split."
        )
    return False


def _stands_alone(top: Folder, train: Folder) -> bool:
    """Whether `train`, without a held-out folder, holds the classes; otherwise it is a class, as of vehicles."""
    beside = [each for each in top.with_photos() if each is not train]
    inside = train.with_photos()
    if train.photos or not inside or (beside and len(inside) < 2):
        return False
    nested = [each for each in beside if each.with_photos()]
    if nested:
        raise InputError(
            f"{top.path}: {train.name}/ may hold the training photos or be a class beside {_names(nested)}. Give "
            f"--data {in_line(train.path)} to take the folders in it as classes, or rename it if it is a class."
        )
    return True


def _class_parts(top: Folder, kind: str) -> tuple[list[_Part], str]:
    inside = [{split_word(each.name) for each in folder.with_photos()} for folder in top.with_photos()]
    if inside and not any(folder.photos for folder in top.folders):
        words = set().union(*inside)
        held = next((name for name in VAL_NAMES if name in words), None)
        if held and None not in words and all("train" in each for each in inside):
            kind = f"a folder per class, with train/ and {held}/ inside each"
            return [_Part(top.folders, None, inner_splits=held, holder=top)], kind
    return [_Part(top.folders, None, holder=top)], kind


def _inaturalist(folders: dict[str, Folder], train: Folder) -> list[_Part]:
    label = _species_of([entry.name for entry in train.folders])
    held = folders.get("2021_valid")
    if held is None:
        return [_Part(train.folders, None, label, train)]
    return [_Part(train.folders, "train", label, train), _Part(held.folders, "val", label, held)]


def _species_of(folders: Sequence[str]) -> Callable[[str], str]:
    """`00012_Plantae_..._Rosa_canina` -> `Rosa canina`, as iNaturalist 2021 names its folders.

    A name that two folders share (a plant and an animal may) stays the whole folder name.
    """

    def species(folder: str) -> str:
        parts = folder.split("_")
        return " ".join(parts[-2:]) if len(parts) == 8 and parts[0].isdigit() else folder

    count = Counter(species(folder) for folder in folders)
    return lambda folder: species(folder) if count[species(folder)] <= 1 else folder


# --- what is refused -----------------------------------------------------------------------------


def _refuse_vanished(root: Path, parts: Sequence[_Part]) -> None:
    """A folder that should be a class and holds no photo is an error: a model would lack it, and nobody would know."""
    full = {normal(each.name) for part in parts for each in part.folders if each in _filled(part)}
    for part in parts:
        for folder in part.folders:
            if normal(folder.name) not in full and not _holds_only_skipped(folder):
                raise InputError(
                    f"{root}: class {folder.name!r} has no photo: {_content(folder)}. Add photos whose names end in "
                    f".jpg, .png or the like, or move {in_line(folder.path)} out of the photos."
                )
        for item in part.holder.skipped if part.holder else ():
            if item.reason == NO_TARGET and not item.path.suffix:
                raise InputError(f"{item.path}: {NO_TARGET}, where a class is expected. Mend the link or remove it.")
            if item.reason == READ_ALREADY and not _leads_up(item.path):
                raise InputError(
                    f"{item.path}: {READ_ALREADY}, {in_line(os.path.realpath(item.path))}, so this class would be "
                    "empty. Remove one of the two."
                )


def _filled(part: _Part) -> list[Folder]:
    return [each for each in part.folders if any(folder.photos for folder in each.walk())]


def _holds_only_skipped(folder: Folder) -> bool:
    """Such as `runs/`, when all that lies in it are runs of attar."""
    return bool(folder.all_skipped()) and not folder.all_others()


def _leads_up(link: Path) -> bool:
    return Path(os.path.realpath(link.parent)).is_relative_to(os.path.realpath(link))


def _content(folder: Folder) -> str:
    others = folder.all_others()
    if not others:
        return "the folder is empty"
    return f"it holds {_suffixes(others)}, and by their names none is a photo"


# --- what is said --------------------------------------------------------------------------------


def _stray(top: Folder, parts: Sequence[_Part]) -> list[Skipped]:
    """Folders with photos beside those that were read."""
    read = {folder.path for part in parts for folder in part.folders}
    holders = {part.holder.path for part in parts if part.holder}
    said = []
    for folder in top.with_photos():
        used = folder.path in read | holders or any(path.is_relative_to(folder.path) for path in holders)
        if not used:
            word = split_word(folder.name)
            reason = "a second held-out split, left alone" if word in VAL_NAMES else "beside the splits, not read"
            said.append(Skipped(folder.path, f"{reason} ({len(folder.all_photos())} photos)"))
    return said


def _loose(top: Folder, holder: Folder, parts: Sequence[_Part]) -> list[str]:
    """Photos that lie in no class folder."""
    folders = {each.path: each for each in (top, holder, *(part.holder for part in parts if part.holder))}
    read = {folder.path for part in parts for folder in part.folders}
    return [
        f"{len(each.photos)} photos right in {in_line(each.path)} have no class and are not read"
        for each in folders.values()
        if each.photos and each.path not in read
    ]


def _nested_note(parts: Sequence[_Part], classes: str) -> list[str]:
    groups = {
        folder.name: [each.name for each in folder.with_photos()]
        for part in parts
        if part.inner_splits is None
        for folder in part.folders
        if len(folder.with_photos()) > 1 and not folder.photos
    }
    if not groups or classes == INNER:
        return []
    first, inside = next(iter(groups.items()))
    more = f", likewise {len(groups) - 1} more" if len(groups) > 1 else ""
    return [
        f"class {first!r} is one class, of the folders {_listed(inside)}{more}. If those are the classes, add "
        "--set data.classes=inner"
    ]


def _other_files(top: Folder) -> list[str]:
    others = top.all_others()
    return [f"no photos by their names: {_suffixes(others)}"] if others else []


def _suffixes(others: Counter[str]) -> str:
    return ", ".join(
        f"{count} {in_line(suffix) if suffix else 'without a suffix'}" for suffix, count in others.most_common(5)
    ) + (f" and {len(others) - 5} more kinds" if len(others) > 5 else "")


def _names(folders: Iterable[Folder]) -> str:
    return " and ".join(f"{in_line(folder.name)}/" for folder in folders)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(in_line(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
