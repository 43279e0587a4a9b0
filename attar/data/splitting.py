"""Which photos are for training and which for validation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attar.data.sample import Sample
from attar.errors import InputError


def split(
    root: Path,
    usable: Sequence[Sample],
    digests: Mapping[str, str],
    *,
    val_fraction: float,
    seed: int,
    kept: Mapping[str, str] | None = None,
    together: bool = True,
) -> list[str]:
    """`train` or `val` for each photo: the user's own split, or a stratified one by `seed`.

    Photos of equal content stand on one side, unless `together` is false. `kept` is the split of an earlier run, by
    content: its photos stay where they were, and only new ones are split.
    """
    kept = kept or {}
    if usable[0].split is not None:
        _refuse_moved(root, usable, digests, kept)
        return [str(item.split) for item in usable]
    # The first of each group of copies is split, and the others follow it. Without copies, that is every photo.
    group = digests if together else {item.name: item.name for item in usable}
    first = {group[item.name]: i for i, item in reversed(list(enumerate(usable)))}
    order = sorted(first.values())
    of = dict(zip(order, _sides(root, [usable[i] for i in order], digests, val_fraction, seed, kept)))
    return [of[first[group[item.name]]] for item in usable]


def _refuse_moved(root: Path, items: Sequence[Sample], digests: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """In the user's own split, a photo that an earlier run held out may not be trained on now."""
    moved = [item for item in items if item.split == "train" and kept.get(digests[item.name]) == "val"]
    if moved:
        raise InputError(
            f"{root}: {moved[0].shown} is a training photo now and was a validation photo of the run that is continued"
            f"{f' (likewise {len(moved) - 1} more)' if len(moved) > 1 else ''}. Keep it for validation, or start anew."
        )


def _sides(
    root: Path,
    items: Sequence[Sample],
    digests: Mapping[str, str],
    val_fraction: float,
    seed: int,
    kept: Mapping[str, str],
) -> list[str]:
    lone = sorted(label for label, count in Counter(item.label for item in items).items() if count == 1)
    if lone:
        raise InputError(
            f"{root}: class {lone[0]!r} has only one readable photo (copies do not count), and training and validation "
            "need one each. "
            f"Add photos or remove the class{f' (likewise {len(lone) - 1} more)' if len(lone) > 1 else ''}."
        )
    if kept:
        return _continued(items, digests, val_fraction, seed, kept)
    chosen = _stratified([item.label for item in items], val_fraction, seed)
    return ["val" if i in chosen else "train" for i in range(len(items))]


def _stratified(labels: Sequence[str], val_fraction: float, seed: int) -> set[int]:
    """The validation photos, by position."""
    from sklearn.model_selection import train_test_split

    count = max(len(set(labels)), round(len(labels) * val_fraction))
    count = min(count, len(labels) - len(set(labels)))
    _, val = train_test_split(np.arange(len(labels)), test_size=count, random_state=seed, stratify=labels)
    chosen = set(val.tolist())
    for members in _by_label(labels).values():
        # Among large classes scikit-learn may leave a class of two or three out of one side.
        if chosen.isdisjoint(members):
            chosen.add(members[0])
        elif chosen.issuperset(members):
            chosen.remove(members[0])
    return chosen


def _continued(
    items: Sequence[Sample], digests: Mapping[str, str], val_fraction: float, seed: int, kept: Mapping[str, str]
) -> list[str]:
    """Old photos where they were; of each class's new ones a share for validation, drawn by seed and content."""
    sides = [kept.get(digests[item.name], "") for item in items]
    for label, members in sorted(_by_label([item.label for item in items]).items()):
        new = sorted((i for i in members if not sides[i]), key=lambda i: digests[items[i].name])
        random.Random(f"{seed} {label}").shuffle(new)
        old = {sides[i] for i in members} - {""}
        count = round(len(new) * val_fraction)
        if "val" not in old:
            count = max(count, 1)
        if "train" not in old:
            count = min(count, len(new) - 1)
        for position, i in enumerate(new):
            sides[i] = "val" if position < count else "train"
    return sides


def _by_label(labels: Sequence[str]) -> dict[str, list[int]]:
    by_label: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        by_label.setdefault(label, []).append(i)
    return by_label
