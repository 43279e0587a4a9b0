"""What place and season add to a model's answers, told on photos in places that the prior has not seen.

The globe's cells are dealt out to folds. For each fold a prior is trained on the observations of the others, so a photo
is never answered by a prior that knows its surroundings; and the floor and weight that it is told with are fitted on
the photos of the other folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attar.console import say
from attar.errors import InputError
from attar.geo import combine
from attar.geo.combine import Combination
from attar.geo.fit import GeoSpec, cells_of, fit_prior, folds_of, predict
from attar.geo.occurrences import Occurrences
from attar.geo.prior import GeoPrior

FOLDS = 4
FEWEST_PHOTOS, FEWEST_CELLS = 40, 8
"""With fewer photos or cells than this, floor and weight are not fitted."""
DRAWS = 2_000


@dataclass(frozen=True)
class Asked:
    """Photos whose labels and places are known, and what a model says of them.

    Attributes:
        probabilities: float (N, labels), in the observations' order of labels.
        label: int64 (N,).
        degrees: latitude and longitude, float64 (N, 2).
        days: of the year, float64 (N,).
    """

    probabilities: np.ndarray
    label: np.ndarray
    degrees: np.ndarray
    days: np.ndarray


@dataclass(frozen=True)
class HeldOut:
    """Priors of the folds: each was trained on the observations of all folds but its own.

    Attributes:
        models: of each fold.
        seed: that the globe's cells were dealt out by.
    """

    models: tuple[GeoPrior, ...]
    seed: int

    def predict(self, asked: Asked) -> np.ndarray:
        """How likely each label is met where and when photos were taken, by priors that do not know it, (N, labels)."""
        fold = folds_of(asked.degrees, len(self.models), self.seed)
        prior = np.zeros(asked.probabilities.shape, np.float32)
        for number in sorted(set(fold.tolist())):
            rows = fold == number
            prior[rows] = predict(self.models[number], asked.degrees[rows], asked.days[rows])
        return prior


def hold_out(seen: Occurrences, spec: GeoSpec) -> HeldOut:
    """Train the priors of the folds.

    Raises:
        InputError: without one of the folds, less than two labels have observations.
    """
    fold = folds_of(seen.places, FOLDS, spec.seed)
    models = []
    for number in range(FOLDS):
        others = seen.taken(fold != number)
        if np.count_nonzero(others.counts) < 2:
            raise InputError("nearly all observations lie in one region, so none is left to hold out. Give more.")
        say(f"Fold {number + 1} of {FOLDS}: {len(others):,} observations elsewhere")
        models.append(fit_prior(others, spec))
    return HeldOut(tuple(models), spec.seed)


def refuse_few(asked: Asked) -> None:
    """Raise `InputError` where photos with places are too few, or in too few cells, to tell anything."""
    cells = len(set(cells_of(asked.degrees).tolist()))
    if len(asked.label) < FEWEST_PHOTOS or cells < FEWEST_CELLS:
        raise InputError(
            f"{len(asked.label)} photos with places in {cells} cells of some 87,000 square kilometres: floor and "
            f"weight are fitted on at least {FEWEST_PHOTOS} photos in {FEWEST_CELLS} cells. Give more, or none."
        )


def fit_combination(held: HeldOut, observed: np.ndarray, asked: Asked) -> tuple[Combination, dict[str, Any]]:
    """The floor and weight to use, and what they gain.

    Args:
        held: priors that do not know where the photos were taken.
        observed: whether a label has any observation, bool (labels,).
        asked: the photos.

    Returns:
        The combination, fitted on all photos; and plain data: `photos`, `cells`, `alone` and `with_place` (shares of
        right answers), `gain` and its 95% interval `low` and `high` by a bootstrap over cells.

    Raises:
        InputError: too few photos or cells to tell.
    """
    refuse_few(asked)
    cells, fold = cells_of(asked.degrees), folds_of(asked.degrees, len(held.models), held.seed)
    prior = held.predict(asked)
    both = np.array(asked.probabilities, np.float64)
    for number in sorted(set(fold.tolist())):
        rows = fold == number
        how = combine.fit(asked.probabilities[~rows], prior[~rows], observed, asked.label[~rows])
        both[rows] = how(asked.probabilities[rows], prior[rows], observed)
    alone = (asked.probabilities.argmax(1) == asked.label).astype(float)
    joined = (both.argmax(1) == asked.label).astype(float)
    low, high = _interval_over(cells, joined - alone, held.seed)
    told = {
        "photos": len(asked.label),
        "cells": len(set(cells.tolist())),
        "alone": float(alone.mean()),
        "with_place": float(joined.mean()),
        "gain": float((joined - alone).mean()),
        "low": low,
        "high": high,
    }
    return combine.fit(asked.probabilities, prior, observed, asked.label), told


def _interval_over(cells: np.ndarray, difference: np.ndarray, seed: int) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean. Whole cells are drawn: photos of one place are not independent."""
    _, which = np.unique(cells, return_inverse=True)
    sums, counts = np.bincount(which, difference), np.bincount(which)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (DRAWS, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
