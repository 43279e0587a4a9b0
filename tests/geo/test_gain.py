"""What place and season add: told where the prior has not seen anything, and nothing where it knows nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attar.benchmarks.studies.world import World
from attar.errors import InputError
from attar.geo.combine import Combination
from attar.geo.files import FOLDS, Prior, load_folds, save
from attar.geo.fit import GeoSpec, cells_of, folds_of, predict
from attar.geo.gain import Asked, HeldOut, _interval_over, fit_combination, hold_out, refuse_few
from attar.geo.located import Located
from attar.geo.occurrences import Occurrences
from attar.geo.places import Place
from attar.geo.prior import GeoPrior

SPEC = GeoSpec(width=48, blocks=2, steps=200, batch_size=128)


def asked(world: World, count: int = 600) -> Asked:
    taken = world.observe(count, seed=11)
    return Asked(world.photos(taken, clear=1.5), taken.label, taken.places, taken.days)


def fitted(seen: Occurrences, photos: Asked) -> tuple[Combination, dict[str, Any]]:
    return fit_combination(hold_out(seen, SPEC), seen.counts > 0, photos)


@pytest.mark.slow
def test_a_world_of_ranges_gains_and_a_world_without_does_not() -> None:
    world = World()
    how, told = fitted(world.observe(1500), asked(world))
    assert how.weight > 0 and told["low"] > 0.1 and told["gain"] == pytest.approx(told["with_place"] - told["alone"])
    assert told["photos"] == 600 and told["cells"] > 50
    same = World(same=True)
    how, told = fitted(same.observe(1500), asked(same))
    assert how.weight == 0 and told["low"] <= 0 <= told["high"]


def test_the_priors_of_the_folds_are_read_back_each_for_its_own_fold(tmp_path: Path) -> None:
    photos = asked(World(), 80)
    held = HeldOut(tuple(GeoPrior(12, width=8, blocks=1).eval() for _ in range(4)), seed=3)
    names = World().names
    save(Prior(GeoPrior(12, width=8, blocks=1), names, np.ones(12, int)), tmp_path / "geo", held)
    again = load_folds(tmp_path / "geo")
    assert again and (again.predict(photos) == held.predict(photos)).all()
    fold = folds_of(photos.degrees, 4, seed=3)
    for number, model in enumerate(held.models):
        rows = fold == number
        assert (held.predict(photos)[rows] == predict(model, photos.degrees[rows], photos.days[rows])).all()
    save(Prior(GeoPrior(12, width=8, blocks=1), names, np.ones(12, int)), tmp_path / "geo")
    assert load_folds(tmp_path / "geo") is None and not (tmp_path / "geo" / FOLDS).exists()


@pytest.mark.slow
def test_a_memorized_place_gains_nothing() -> None:
    """Each label was met in one cell only, so its photos are answered by priors that never saw it there."""
    random = np.random.default_rng(0)
    centres = np.column_stack([np.linspace(-60, 60, 12), np.linspace(-170, 170, 12)])
    world = World(same=True)
    label = np.repeat(np.arange(12), 40)
    places = centres[label] + 0.01 * random.normal(size=(480, 2))
    seen = Occurrences(world.names, label, places, np.zeros(480))
    photos = world.photos(seen, clear=1.5)
    how, told = fitted(seen, Asked(photos, seen.label, places, np.zeros(480)))
    assert told["high"] <= 0.02 and how.weight <= 0.25


def test_folds_are_of_whole_cells_and_depend_on_the_seed() -> None:
    places = World().observe(400).places
    cells, fold = cells_of(places), folds_of(places, 4)
    assert {len(set(fold[cells == cell])) for cell in set(cells)} == {1} and set(fold) == {0, 1, 2, 3}
    assert (folds_of(places[:50], 4) == fold[:50]).all() and (folds_of(places, 4, seed=1) != fold).any()


def test_the_interval_is_of_whole_cells() -> None:
    """All photos of a cell alike: there are as many independent ones as cells."""
    random = np.random.default_rng(0)
    of_cell = random.integers(0, 2, 50).astype(float)
    cells, difference = np.repeat(np.arange(50), 40), np.repeat(of_cell, 40)
    low, high = _interval_over(cells, difference, 0)
    assert high - low == pytest.approx(2 * 1.96 * of_cell.std() / np.sqrt(50), rel=0.15)


def test_too_few_photos_are_told() -> None:
    world = World()
    with pytest.raises(InputError, match=r"10 photos with places in \d+ cells.*at least 40"):
        refuse_few(asked(world, 10))


def test_photos_without_a_place_keep_their_answers_bit_for_bit() -> None:
    prior = Prior(GeoPrior(3).eval(), ("a", "b", "c"), np.array([5, 0, 5]), combination=Combination(0.01, 1.0))
    located = Located(prior, ("c", "a", "b"), "geo")
    photos = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], np.float32)
    assert located(photos, [None, None]) is photos
    both = located(photos, [None, Place(48, 11, 100)])
    assert (both[0] == photos[0]).all() and (both[1] != photos[1]).all() and both.dtype == np.float32
    likely = predict(prior.model, np.array([[48.0, 11.0]]), np.array([100.0]))[:, [2, 0, 1]]
    expected = prior.combination(photos[1:], likely, np.array([True, True, False]))
    np.testing.assert_allclose(both[1:], expected, rtol=1e-6)
    mute = Prior(prior.model, prior.labels, prior.counts, combination=Combination(0.01, 0))
    assert Located(mute, prior.labels, "geo")(photos, [Place(1, 2), None]) is photos


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d"), ("a", "b", "x")])
def test_a_prior_of_other_labels_is_refused(labels: tuple[str, ...]) -> None:
    prior = Prior(GeoPrior(3).eval(), ("a", "b", "c"), np.ones(3, int))
    with pytest.raises(InputError, match=r"runs/geo: a prior of 3 other labels.*--student"):
        Located(prior, labels, "runs/geo")
