"""A made world: labels with ranges and seasons that are known, observations in it, and what a photo says of them."""

from __future__ import annotations

import numpy as np

from attar.geo.occurrences import Occurrences


class World:
    """Each label lives around a few centres on the globe, and half of them in one season only.

    Args:
        labels: how many.
        same: all live in the same places and seasons, so that these tell nothing.
    """

    def __init__(self, labels: int = 12, seed: int = 0, same: bool = False) -> None:
        random = np.random.default_rng(seed)
        self.names = tuple(f"label {number:02d}" for number in range(labels))
        self._centres = _globe(random, (1 if same else labels, 2))
        self._peaks = random.uniform(1, 366, 1 if same else labels)
        self._seasonal = np.arange(1 if same else labels) % 2 == 1
        if same:
            self._centres = np.repeat(self._centres, labels, 0)
            self._peaks, self._seasonal = np.repeat(self._peaks, labels), np.repeat(self._seasonal, labels)

    def density(self, places: np.ndarray, days: np.ndarray) -> np.ndarray:
        """How common each label is there and then, in [0, 1], float (N, labels)."""
        near = np.einsum(
            "nk,lck->nlc", _vectors(places), _vectors(self._centres.reshape(-1, 2)).reshape(len(self.names), 2, 3)
        )
        range_ = np.exp(40 * (near - 1)).max(2)
        away = np.abs((days[:, None] - self._peaks + 183) % 366 - 183)
        return range_ * np.where(self._seasonal, np.exp(-((away / 40) ** 2)), 1.0)

    def observe(self, count: int, seed: int = 1) -> Occurrences:
        """Observations where and when labels are common, of all labels alike."""
        random = np.random.default_rng(seed)
        places: list[np.ndarray] = []
        days: list[float] = []
        label: list[int] = []
        while len(label) < count:
            where, when = _globe(random, (4096,)), random.integers(1, 367, 4096).astype(float)
            common = self.density(where, when)
            which = random.integers(0, len(self.names), 4096)
            for row in np.flatnonzero(random.random(4096) < common[np.arange(4096), which]):
                places.append(where[row])
                days.append(when[row])
                label.append(which[row])
        return Occurrences(
            self.names, np.array(label[:count], np.int64), np.array(places[:count]), np.array(days[:count])
        )

    def photos(self, seen: Occurrences, seed: int = 2, clear: float = 1.0) -> np.ndarray:
        """What a model that looks at photos alone says of observations: right more often the clearer photos are."""
        logits = np.random.default_rng(seed).normal(size=(len(seen), len(self.names)))
        logits[np.arange(len(seen)), seen.label] += clear
        shares = np.exp(logits)
        return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


def _globe(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Latitudes and longitudes spread evenly over the globe, degrees (*shape, 2)."""
    return np.stack([np.degrees(np.arcsin(random.uniform(-1, 1, shape))), random.uniform(-180, 180, shape)], -1)


def _vectors(places: np.ndarray) -> np.ndarray:
    """Degrees (N, 2) -> unit vectors (N, 3)."""
    latitude, longitude = np.radians(places).T
    ring = np.cos(latitude)
    return np.stack([ring * np.cos(longitude), ring * np.sin(longitude), np.sin(latitude)], 1)
