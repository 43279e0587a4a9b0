"""A user's labelled photos: found on disk, checked by decoding, split into train and validation.

Ways to lay them out:

    photos/rose/1.jpg ...                    a folder per class; split here, stratified, by a fixed seed
    photos/train/rose/1.jpg, photos/val/...  the same with the user's own split, in any usual spelling
    photos.csv                               columns path,label and, if wanted, split (train or val);
                                             paths are relative to the CSV file

`torchvision.datasets.INaturalist`'s folders (`2021_train/`, `2021_valid/`, `2017/` ...), and photos packed many to a
file: `attar.data.shards` (tar, WebDataset) and `attar.data.tables` (Arrow and parquet, Hugging Face datasets).

Beside them there may be a folder of photos without labels, laid out anyhow: for a student that learns from its
teacher alone. And there may be a folder of added photos, such as people's observations: they are training photos, or
on the side that their own list names.

Here the parts come together: `attar.data.layouts` and `attar.data.csvlist` find photos, `attar.data.checking` decodes
them, `attar.data.leaks` finds copies, `attar.data.splitting` splits.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from attar.data import leaks
from attar.data.archives import in_packed, is_packed
from attar.data.checking import Checked, check, in_threads, unchecked
from attar.data.csvlist import METADATA, is_described, read_csv
from attar.data.foldertree import Skipped as SetAside
from attar.data.foldertree import scan
from attar.data.images import Part, UnreadableImage, shown, use_rgb
from attar.data.layouts import INNER, OUTER, Layout, read_layout
from attar.data.photolist import read_list
from attar.data.remote import here, is_remote
from attar.data.sample import Sample
from attar.data.splitting import split
from attar.errors import InputError, in_line
from attar.files import digest_of, digest_of_each
from attar.preprocessing import Preprocessing

__all__ = [
    "DataSpec",
    "Photo",
    "Photos",
    "SetAside",
    "in_threads",
    "labels_of",
    "load_pixels",
    "looks_of",
    "read_photos",
]


@dataclass(frozen=True)
class DataSpec:
    """Where photos are and how to split them: all that is needed to read the same photos again.

    Attributes:
        path: a folder, a CSV, shards or tables; an address of remote ones (`attar.data.remote`).
        val_fraction: share of photos that are held out, where the user has no split.
        seed: of that split.
        unlabelled: a place of photos without labels.
        classes: `outer`: the folder right below the root or split names the class; `inner`: the one a photo lies in.
        allow_duplicates: leave copies of photos where they are.
        keep: a `photos.json` of a run, whose photos stay on their sides.
        added: a place of further labelled photos.
        added_unlabelled: a place of further photos without labels.
        check: decode and hash every photo first. Otherwise a photo is known by its name and size.
    """

    path: str
    val_fraction: float = 0.25
    seed: int = 0
    unlabelled: str | None = None
    classes: str = OUTER
    allow_duplicates: bool = False
    keep: str | None = None
    added: str | None = None
    added_unlabelled: str | None = None
    check: bool = True

    @property
    def without_labels(self) -> str | None:
        """A place of photos without labels, if there is any."""
        return self.unlabelled or self.added_unlabelled

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
class Photos:
    """A data set: labels in order, the two splits in a deterministic order, and what was left out."""

    spec: DataSpec
    labels: tuple[str, ...]
    train: tuple[Photo, ...]
    val: tuple[Photo, ...]
    set_aside: tuple[SetAside, ...] = ()
    """Photos that cannot be used."""
    fingerprint: str = field(default="")
    """SHA-256 over every used photo's (name, label, split, content): the identity of the labelled data."""
    unlabelled: tuple[Photo, ...] = ()
    unlabelled_fingerprint: str = field(default="")
    """SHA-256 over every photo without a label; empty if there are none."""
    layout: str = ""
    """How the photos were read, for a person."""
    notes: tuple[str, ...] = ()
    """What a person should know of it."""
    warnings: tuple[str, ...] = ()
    """What may spoil the figures: copies and near-copies."""
    skipped: tuple[SetAside, ...] = ()
    """Folders and links that were not read."""
    listing: tuple[tuple[str, str, str, str], ...] = field(default=(), repr=False)
    """Of every used photo: name, label, split, SHA-256 of its content."""

    @property
    def root(self) -> Path:
        """The folder on this machine below which the photos have their names."""
        return _root(self.spec.path)

    def name(self, photo: Photo) -> str:
        """What the data set calls a photo, wherever it lies on this machine."""
        for place in (self.spec.added, self.spec.added_unlabelled):
            if place and photo.path.is_relative_to(added := _root(place)):
                return _added_name(added, photo.shown.relative_to(added).as_posix())
        root = self.root
        return photo.shown.relative_to(root).as_posix() if photo.shown.is_relative_to(root) else str(photo.shown)

    def is_added(self, photo: Photo) -> bool:
        """Whether a photo is one of those that were added."""
        return bool(self.spec.added) and photo.path.is_relative_to(_root(self.spec.added or ""))

    def summary(self) -> str:
        """One line for a person."""
        text = f"{len(self.labels)} classes, {len(self.train)} training and {len(self.val)} validation photos"
        text += f", {len(self.unlabelled)} without labels" if self.unlabelled else ""
        return text + (f", {len(self.set_aside)} set aside" if self.set_aside else "")

    def counts(self) -> dict[str, int]:
        """Photos per class, of both splits, in the order of the labels."""
        count = Counter(photo.label for photo in (*self.train, *self.val))
        return {label: count[number] for number, label in enumerate(self.labels)}

    def block(self, first: int = 10, named: int = 5) -> list[str]:
        """Lines for a person: the summary, the layout, the first classes, what was left out and why."""
        counts = list(self.counts().items())
        classes = ", ".join(f"{in_line(label)} {count}" for label, count in counts[:first])
        if len(counts) > first:
            classes += f", and {len(counts) - first} more with {sum(count for _, count in counts[first:])} photos"
        lines = [f"Photos: {self.summary()}"]
        lines += [f"  layout: {self.layout}"] if self.layout else []
        lines += [f"  classes: {classes}"]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        lines += [f"  note: {note}" for note in self.notes]
        for word, items in (("skipped", self.skipped), ("set aside", self.set_aside)):
            lines += [
                f"  {word}: {in_line(_short(item.path, self.spec))}: {in_line(item.reason)}" for item in items[:named]
            ]
            if len(items) > named:
                lines.append(f"  ... and {len(items) - named} more, all named in provenance.json or the bundle")
        return lines

    def to_json(self) -> dict[str, Any]:
        """As plain data: what `block` says, in full."""
        return {
            "train": len(self.train),
            "val": len(self.val),
            "layout": self.layout,
            "photos_per_class": self.counts(),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "skipped": _listed(self.skipped),
            "set_aside": _listed(self.set_aside),
        }


def _root(place: str) -> Path:
    root = here(place)
    return root if root.is_dir() else root.parent


def _short(path: Path, spec: DataSpec) -> Path:
    """A path as it stands below the data set, if it does."""
    root = _root(spec.path)
    return path.relative_to(root) if path.is_relative_to(root) and path != root else path


def _listed(items: Sequence[SetAside]) -> list[dict[str, str]]:
    return [{"path": str(item.path), "reason": item.reason} for item in items]


def read_photos(spec: DataSpec | Path | str, thorough: bool = False) -> Photos:
    """Find, check and split the photos that `spec` names; a path alone is split as `DataSpec` does by default.

    With `thorough`, photos that were checked before are hashed whole again: before something that was made from them
    is trusted.

    Raises `InputError` when there are none, only one class, a class without photos or too small to split, or a
    validation class that training lacks.
    """
    spec = spec if isinstance(spec, DataSpec) else DataSpec(str(spec))
    root = _fetched(spec.path)
    _refuse_spec(root, spec)
    unlabelled = _fetched(spec.unlabelled) if spec.unlabelled else None
    try:
        layout = _find(root, unlabelled, spec.classes)
    except OSError as error:
        raise InputError(f"{error.filename or root}: cannot be read ({error.strerror}).") from error
    samples = layout.samples
    if not samples:
        raise InputError(_nothing(root, layout))
    checked = _checked(root, samples, spec.check, thorough)
    digests, set_aside = checked.digests, list(checked.bad)
    usable = [item for item in samples if item.name in digests]
    usable, doubled, warnings = _without_copies(usable, digests, spec)
    set_aside += doubled
    labels = tuple(sorted({item.label for item in usable}))
    _refuse_unusable(root, labels, samples, set_aside)
    _refuse_odd_labels(root, labels)
    index = {label: i for i, label in enumerate(labels)}
    kept = {digest: side for _, _, side, digest in read_list(Path(spec.keep))} if spec.keep else None
    splits = split(
        root,
        usable,
        digests,
        val_fraction=spec.val_fraction,
        seed=spec.seed,
        kept=kept,
        together=not spec.allow_duplicates,
    )
    both: dict[str, list[Photo]] = {"train": [], "val": []}
    for item, side in zip(usable, splits):
        both[side].append(Photo(item.path, index[item.label], item.part))
    _refuse_gaps(root, labels, both["train"], both["val"])
    listing = tuple((i.name, i.label, s, digests[i.name]) for i, s in zip(usable, splits))
    photos = Photos(
        spec,
        labels,
        tuple(both["train"]),
        tuple(both["val"]),
        tuple(set_aside),
        digest_of_each(listing),
        layout=layout.kind,
        notes=(*layout.notes, *_unseen(labels, labels, both["val"]), *_profiles(checked)),
        skipped=layout.skipped,
        warnings=(*_unchecked(spec), *warnings, *_near(listing, checked)),
        listing=listing,
    )
    if spec.added:
        photos = _with_added(photos, _fetched(spec.added), kept or {}, thorough)
    taken = {*digests.values(), *(digest for *_, digest in photos.listing)}
    places = [unlabelled] if unlabelled else []
    places += [_fetched(spec.added_unlabelled)] if spec.added_unlabelled else []
    return _with_unlabelled(photos, places, taken, thorough) if places else photos


def _fetched(place: str) -> Path:
    """A path on this machine: of remote photos, that of their copy, which is made if need be."""
    if is_remote(place):
        from attar.data.mirror import local_copy

        return local_copy(place)
    return here(place)


def _refuse_spec(root: Path, spec: DataSpec) -> None:
    if not is_packed(root) and not (root.is_dir() or root.is_file()):
        if root.exists():
            raise InputError(f"{root}: neither a folder nor a file, so it is not opened. Give a folder of photos.")
        raise InputError(f"{root}: no such folder or CSV file. Give --data a folder of class/photo.jpg.")
    if not 0 < spec.val_fraction < 1:
        raise InputError(f"val_fraction: {spec.val_fraction} is not between 0 and 1.")
    if spec.classes not in (OUTER, INNER):
        raise InputError(f"data.classes: {spec.classes!r} is neither {OUTER} nor {INNER}.")


def _nothing(root: Path, layout: Layout) -> str:
    beside = (
        f" {len(layout.skipped)} folders or links were skipped, the first: {in_line(layout.skipped[0].path)} "
        f"({layout.skipped[0].reason})."
        if layout.skipped
        else ""
    )
    notes = f" What was seen: {'; '.join(layout.notes)}." if layout.notes else ""
    return (
        f"{root}: no images found.{notes}{beside} Expected a folder per class with photos in it "
        "(.jpg, .png, .webp, .tif ...), train/ and val/ folders of those, a CSV of path,label, tar shards, "
        "or Arrow or parquet files."
    )


def _find(root: Path, unlabelled: Path | None, classes: str) -> Layout:
    if is_packed(root):
        return Layout(in_packed(root), "photos packed in tar shards or tables")
    if root.is_file():
        return read_csv(root)
    if is_described(root):
        return read_csv(root / METADATA)
    layout = read_layout(root, unlabelled, classes)
    if layout.samples or (packed := in_packed(root)) == []:
        return layout
    return Layout(packed, "photos packed in tar shards or tables", layout.notes, layout.skipped)


def _without_copies(
    usable: Sequence[Sample], digests: Mapping[str, str], spec: DataSpec
) -> tuple[list[Sample], list[SetAside], list[str]]:
    """The photos without those that would spoil the figures, those, and what to say of copies."""
    groups, allowed = leaks.copies(usable, digests), spec.allow_duplicates
    if not groups:
        return list(usable), [], []
    doubled, warnings = [], []
    two_labels, two_splits = leaks.of_two_labels(groups), leaks.of_two_splits(groups)
    named = {str(item.path) for item in two_labels}
    two_splits = [item for item in two_splits if str(item.path) not in named]
    end = "They stay: duplicates are allowed" if allowed else "Mend the folders, or keep them with --allow-duplicates"
    if two_labels:
        how = "" if allowed else " and are set aside"
        warnings.append(f"{len(two_labels)} photos have two labels{how} ({_first(two_labels, spec)}). {end}")
    if two_splits:
        how = "" if allowed else " and are not trained on"
        warnings.append(
            f"{len(two_splits)} training photos are copies of validation photos{how} "
            f"({_first(two_splits, spec)}). {end}"
        )
    if not allowed:
        doubled = [*two_labels, *two_splits]
    gone = {str(item.path) for item in doubled}
    left = [item for item in usable if str(item.shown) not in gone]
    groups = leaks.copies(left, digests) if not allowed else {}
    if groups:
        first, second = next(iter(groups.values()))[:2]
        warnings.append(
            f"{sum(map(len, groups.values()))} files are copies of {len(groups)} photo(s), kept on one side "
            f"(such as {in_line(first.name)} and {in_line(second.name)})"
        )
    return left, doubled, warnings


def _first(items: Sequence[SetAside], spec: DataSpec) -> str:
    return f"such as {in_line(_short(items[0].path, spec))}: {in_line(items[0].reason)}"


def _near(listing: Sequence[tuple[str, str, str, str]], checked: Checked) -> list[str]:
    """A warning of validation photos that look like training photos."""
    looks: dict[str, dict[str, str]] = {"train": {}, "val": {}}
    for name, _, side, _ in listing:
        looks[side][name] = checked.looks[name]
    equal = {digest for _, _, side, digest in listing if side == "train"}
    looks["val"] = {n: looks["val"][n] for n, _, side, digest in listing if side == "val" and digest not in equal}
    if len(looks["train"]) * len(looks["val"]) > leaks.MAX_PAIRS:
        return ["validation photos were not searched for some that look like training photos: there are too many pairs"]
    pairs = leaks.near_copies(looks["train"], looks["val"])
    if not pairs:
        return []
    examples = ", ".join(f"{in_line(val)} and {in_line(train)}" for val, train in pairs[:3])
    return [
        f"{len(pairs)} of {len(looks['val'])} validation photos look like a training photo (such as {examples}). If "
        "they show the same moment, validation is too easy: give a split of your own"
    ]


def _unseen(asked: Sequence[str], labels: Sequence[str], val: Sequence[Photo]) -> list[str]:
    """What to say of those classes that no validation photo shows."""
    seen = {labels[photo.label] for photo in val}
    missing = [label for label in asked if label not in seen]
    if not missing:
        return []
    names = ", ".join(map(repr, missing[:3]))
    return [f"no validation photo shows {len(missing)} of the classes ({names}): their accuracy is not measured"]


def _profiles(checked: Checked) -> list[str]:
    """Say how many photos have a colour profile that cannot be used."""
    damaged = checked.damaged_profiles
    if not damaged:
        return []
    what = (
        "photo has a damaged colour profile and is"
        if len(damaged) == 1
        else "photos have a damaged colour profile and are"
    )
    names = "; ".join(f"{item.path.name}: {item.reason}" for item in damaged[:3])
    return [f"{len(damaged)} {what} taken for sRGB ({names}{'; ...' if len(damaged) > 3 else ''})"]


def _checked(root: Path, samples: Sequence[Sample], checking: bool, thorough: bool) -> Checked:
    return check(root, samples, thorough) if checking else unchecked(samples)


def _unchecked(spec: DataSpec) -> list[str]:
    if spec.check:
        return []
    return [
        "photos are not checked (data.check: false): a damaged one stops the training when it is drawn, and neither "
        "copies of validation photos nor changed photos are noticed"
    ]


def looks_of(photos: Photos) -> dict[str, str]:
    """What each used photo looks like (`attar.data.leaks.look`), by name; from the memory of checked photos."""
    spec = photos.spec
    root = here(spec.path)
    looks = check(root, _find(root, None, spec.classes).samples).looks
    if spec.added:
        place = here(spec.added)
        more = check(place, _find(place, None, spec.classes).samples).looks
        looks |= {_added_name(_root(spec.added), name): look for name, look in more.items()}
    return {name: looks[name] for name, *_ in photos.listing if name in looks}


def _with_added(photos: Photos, place: Path, kept: Mapping[str, str], thorough: bool) -> Photos:
    """Add the labelled photos at `place`, but for those that are there already: what is added moves no photo.

    They are training photos, or on the side that their own list or folders name. `kept` is the split of an earlier run.
    """
    if not is_packed(place) and not (place.is_dir() or place.is_file()):
        raise InputError(f"{place}: no such folder or CSV file. data.added names further photos with labels.")
    layout = _find(place, None, photos.spec.classes)
    checked = _checked(place, layout.samples, photos.spec.check, thorough)
    taken = {digest for *_, digest in photos.listing}
    good = [item for item in layout.samples if item.name in checked.digests]
    copies = [item for item in good if checked.digests[item.name] in taken]
    good = [item for item in good if checked.digests[item.name] not in taken]
    good, doubled, warnings = _without_copies(good, checked.digests, replace(photos.spec, path=str(place)))
    sides = [item.split or "train" for item in good]
    moved = [
        item for item, side in zip(good, sides) if side == "train" and kept.get(checked.digests[item.name]) == "val"
    ]
    if moved:
        raise InputError(
            f"{place}: {moved[0].shown} is a training photo now and was a validation photo of the run that is "
            "continued. Keep it for validation, or start anew."
        )
    return _joined(
        photos,
        [(item, side, checked.digests[item.name]) for item, side in zip(good, sides)],
        place,
        [*checked.bad, *doubled, *(SetAside(item.shown, "among the other photos already") for item in copies)],
        warnings,
    )


def _joined(
    photos: Photos,
    added: Sequence[tuple[Sample, str, str]],
    place: Path,
    set_aside: Sequence[SetAside],
    warnings: Sequence[str],
) -> Photos:
    """The photos with the added ones (with their sides and SHA-256) behind them, and the classes of both."""
    labels = tuple(sorted({*photos.labels, *(item.label for item, _, _ in added)}))
    _refuse_odd_labels(place, labels)
    index = {label: i for i, label in enumerate(labels)}
    sides: dict[str, list[Photo]] = {
        side: [replace(photo, label=index[photos.labels[photo.label]]) for photo in before]
        for side, before in (("train", photos.train), ("val", photos.val))
    }
    listing = list(photos.listing)
    root = place if place.is_dir() else place.parent
    names = {name for name, *_ in listing}
    for item, side, digest in added:
        name = _added_name(root, item.name)
        if name in names:
            raise InputError(f"{place}: {item.name} would have the name of another photo, {name}. Rename the folder.")
        sides[side].append(Photo(item.path, index[item.label], item.part))
        listing.append((name, item.label, side, digest))
    _refuse_gaps(place, labels, sides["train"], sides["val"])
    return replace(
        photos,
        labels=labels,
        train=tuple(sides["train"]),
        val=tuple(sides["val"]),
        set_aside=(*photos.set_aside, *set_aside),
        fingerprint=digest_of_each(listing),
        layout=f"{photos.layout}; {len(added)} added from {root.name}/",
        notes=(*photos.notes, *_unseen([each for each in labels if each not in photos.labels], labels, sides["val"])),
        warnings=(*photos.warnings, *warnings),
        listing=tuple(listing),
    )


def _added_name(root: Path, name: str) -> str:
    """What an added photo is called: below the name of the folder that it came from."""
    return f"{root.name}/{name}"


def _with_unlabelled(photos: Photos, places: Sequence[Path], taken: set[str], thorough: bool) -> Photos:
    """Add the photos at `places`, but for those of the labelled data: no validation photo may be trained on."""
    used: list[Photo] = []
    entries: list[list[str]] = []
    aside: list[SetAside] = []
    for place in places:
        found, digests, left = _unlabelled_at(place, taken, photos.spec.check, thorough)
        aside += left
        if not found:
            raise InputError(f"{place}: no photo that can be used as an unlabelled one ({len(left)} set aside).")
        used += [Photo(item.path, -1, item.part) for item in found]
        entries += [[item.name, digests[item.name]] for item in found]
        taken = taken | {digests[item.name] for item in found}
    return replace(
        photos, unlabelled=tuple(used), unlabelled_fingerprint=digest_of(entries), set_aside=(*photos.set_aside, *aside)
    )


def _unlabelled_at(
    place: Path, taken: set[str], checking: bool, thorough: bool
) -> tuple[list[Sample], Mapping[str, str], list[SetAside]]:
    """The photos at a place that are not `taken`, the SHA-256 of each by name, and what cannot be used."""
    if not place.is_dir() and not is_packed(place):
        raise InputError(f"{place}: no such folder. data.unlabelled names a folder of photos without labels.")
    files = scan(place).all_photos() if place.is_dir() else []
    samples = [Sample(path, path.relative_to(place).as_posix(), "", None) for path in files]
    samples = samples or in_packed(place, labelled=False)
    checked = _checked(place, samples, checking, thorough)
    digests = checked.digests
    good = [item for item in samples if item.name in digests]
    copies = [item for item in good if digests[item.name] in taken]
    reason = "the same photo is among the labelled or the earlier ones"
    left = [*checked.bad, *(SetAside(item.shown, reason) for item in copies)]
    return [item for item in good if digests[item.name] not in taken], digests, left


def unreadable(photo: Photo, error: UnreadableImage) -> InputError:
    """What to tell of a photo that is in use and cannot be read."""
    return InputError(
        f"{photo.shown}: changed since it was checked, or not checked (data.check): {error}. Mend or remove it; "
        "photos that are checked are set aside instead."
    )


def load_pixels(photos: Sequence[Photo], preprocessing: Preprocessing, title: str | None = None) -> np.ndarray:
    """Decode and preprocess photos, in order -> uint8 array (len(photos), size, size, 3)."""
    pixels = np.empty((len(photos), preprocessing.size, preprocessing.size, 3), dtype=np.uint8)

    def load(position: int) -> None:
        photo = photos[position]
        try:
            pixels[position] = use_rgb(preprocessing, photo.path, photo.part)
        except UnreadableImage as error:
            raise unreadable(photo, error) from error

    for _ in in_threads(load, range(len(photos)), title):
        pass
    return pixels


def labels_of(photos: Sequence[Photo]) -> np.ndarray:
    """Class indices, int64, shape (len(photos),)."""
    return np.array([photo.label for photo in photos], dtype=np.int64)


# --- refusals ------------------------------------------------------------------------------------


def _refuse_unusable(root: Path, labels: Sequence[str], samples: Sequence[Sample], bad: Sequence[SetAside]) -> None:
    if not labels:
        raise InputError(
            f"{root}: none of its {len(samples)} images can be used. The first: {bad[0].path}: {bad[0].reason}."
        )
    if len(labels) == 1:
        raise InputError(
            f"{root}: only one class ({labels[0]!r}) has readable photos, and a classifier needs two. "
            + (_inner_folders(root / labels[0], samples) or "Put each class's photos into a folder of its own.")
        )
    lost = sorted({item.label for item in samples} - set(labels))
    if lost:
        members = {item.shown for item in samples if item.label == lost[0]}
        reason = next(item for item in bad if item.path in members)
        raise InputError(
            f"{root}: no photo of class {lost[0]!r} can be used. The first: {reason.path}: {reason.reason}. "
            f"Mend its photos or remove the class{f' (likewise {len(lost) - 1} more)' if len(lost) > 1 else ''}."
        )


def _inner_folders(folder: Path, samples: Sequence[Sample]) -> str:
    """What to say of an only class that has folders with photos: they may be the classes."""
    below = [item.shown.relative_to(folder).parts for item in samples if item.shown.is_relative_to(folder)]
    names = sorted({parts[0] for parts in below if len(parts) > 1})
    if len(names) < 2:
        return ""
    some = ", ".join(map(in_line, names[:3])) + (", ..." if len(names) > 3 else "")
    return f"It holds folders with photos ({some}): if these are the classes, give {folder}."


def _refuse_odd_labels(root: Path, labels: Sequence[str]) -> None:
    """Labels travel inside phone files, one per line, as UTF-8."""
    for label in labels:
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in label):
            raise InputError(f"{root}: class {label!r}: its name is not one line of UTF-8 text. Rename it.")


def _refuse_gaps(root: Path, labels: Sequence[str], train: Sequence[Photo], val: Sequence[Photo]) -> None:
    missing = sorted(set(range(len(labels))) - {photo.label for photo in train})
    if missing:
        raise InputError(
            f"{root}: class {labels[missing[0]]!r} has no readable training photo. Add some, or remove the class."
        )
    if not val:
        raise InputError(f"{root}: no readable validation photo. Add some to val/, or leave the split to attar.")
