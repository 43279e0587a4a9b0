"""A teacher that has nothing to teach is found from its stored answers, before a student is trained by them.

Two ways to be useless: answers that agree with the labels no better than chance, and answers that are good but in
another order of classes (a checkpoint fitted to folders that were sorted otherwise). For the second, the best
one-to-one renaming of classes is found on each half of the photos (Kuhn, 1955, as scipy solves it) and tried on the
other, so that a renaming that only fits by luck does not count.
"""

from __future__ import annotations

import numpy as np

from attar.bundle import Bundle
from attar.distill.cache import TeacherCache
from attar.errors import InputError

SAMPLE = 5000
"""Photos looked at: enough to tell, and quick on the largest cache."""

WEAK = 0.05
"""Share of the way from chance to perfect that a teacher is at least to go."""

BETTER = 0.15
"""Gain in top-1 from which a message proposes that classes were renamed."""


def refuse_useless(cache: TeacherCache, labels: np.ndarray, teacher: Bundle) -> None:
    """Look at the teacher's answers to view 0 of the training photos.

    Args:
        cache: of its outputs, view 0 in it.
        labels: of the photos, int64 (photos,); negative where there is none.
        teacher: whose answers they are.

    Raises:
        InputError: they are near chance, or those of permuted classes.
    """
    index = np.random.default_rng(0).permutation(np.flatnonzero(labels >= 0))[:SAMPLE]
    if len(index) < 2:
        return
    trouble = problem(cache.logits(0, index).argmax(1), labels[index], teacher.labels)
    if trouble:
        raise InputError(f"{teacher.path}: {trouble} To train by it all the same, set student.check_teacher to false.")


def problem(predicted: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> str | None:
    """What is wrong with a teacher's answers, if anything.

    Args:
        predicted: class indices (N,), in random order.
        labels: the true ones (N,).
        names: of the classes.
    """
    classes = len(names)
    right = (predicted == labels).astype(float)
    renamed = np.empty(len(labels))
    halves = np.array_split(np.arange(len(labels)), 2)
    for fitted, tried in (halves, halves[::-1]):
        renamed[tried] = _renaming(predicted[fitted], labels[fitted], classes)[predicted[tried]] == labels[tried]
    gain = renamed - right
    if gain.mean() > max(BETTER, 3 * gain.std() / np.sqrt(len(gain))):
        renaming = _renaming(predicted, labels, classes)
        moved = [f"{name!r} where the photo shows {names[c]!r}" for name, c in zip(names, renaming) if name != names[c]]
        return (
            f"the teacher's classes are in another order than the photos': top-1 on training photos is "
            f"{100 * right.mean():.1f}%, and {100 * renamed.mean():.1f}% with {len(moved)} classes renamed "
            f"(it answers {'; '.join(moved[:3])}{'; ...' if len(moved) > 3 else ''}). "
            "Save the teacher with its labels in the order of its outputs."
        )
    chance = _chance(predicted, labels, classes)
    if right.mean() < chance + WEAK * (1 - chance):
        return (
            f"the teacher knows next to nothing of these photos: top-1 on training photos is "
            f"{100 * right.mean():.1f}%, and answering at random would give {100 * chance:.1f}%. "
            "Fit it to them with `attar teach`, and look at the top-1 that it tells."
        )
    return None


def _renaming(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The one-to-one renaming (classes,) of predicted classes that makes most of them right."""
    from scipy.optimize import linear_sum_assignment

    renaming = np.arange(classes)
    rows, columns = np.unique(predicted), np.unique(np.concatenate([labels, predicted]))
    counts = np.zeros((len(rows), len(columns)))
    np.add.at(counts, (np.searchsorted(rows, predicted), np.searchsorted(columns, labels)), 1)
    counts += 1e-3 * (rows[:, None] == columns)  # where nothing speaks for a change, none is made
    chosen_rows, chosen_columns = linear_sum_assignment(counts, maximize=True)
    renaming[rows[chosen_rows]] = columns[chosen_columns]
    return renaming


def _chance(predicted: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Top-1 if answers and labels were as frequent as they are and had nothing to do with each other."""
    frequencies = [np.bincount(values, minlength=classes) / len(values) for values in (predicted, labels)]
    return float(frequencies[0] @ frequencies[1])
