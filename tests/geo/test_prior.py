"""The prior of place and season: its encoding, its loss, and what it learns of a made world whose ranges are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from attar.benchmarks.studies.world import World
from attar.errors import InputError
from attar.geo import combine, files
from attar.geo.fit import GeoSpec, assume_negative, fit_prior, held_out, predict, told_of_unseen_places
from attar.geo.occurrences import Occurrences
from attar.geo.prior import GeoPrior, encoded
from attar.metrics import bootstrap_interval

SPEC = GeoSpec(steps=250, batch_size=256)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def model(world: World) -> GeoPrior:
    return fit_prior(world.observe(2000), SPEC)


def test_places_and_days_lie_on_circles() -> None:
    def of(*where: float) -> np.ndarray:
        return encoded(torch.tensor([where]))[0].numpy()

    assert of(10.0, -180.0, 5.0) == pytest.approx(of(10.0, 180.0, 5.0), abs=1e-5)
    assert of(90.0, 0.0, 5.0) == pytest.approx(of(90.0, 77.0, 5.0), abs=1e-5)
    assert np.abs(of(10.0, 20.0, 1.0) - of(10.0, 20.0, 366.0)).max() < 0.02
    assert of(10.0, 20.0, 0.0)[4:].tolist() == [0, 0, 0] and of(10.0, 20.0, 1.0)[6] == 1
    latitude, longitude, angle = math.radians(48), math.radians(11), 2 * math.pi * 121 / 365.25
    ring = math.cos(latitude)
    expected = [ring * math.cos(longitude), ring * math.sin(longitude), math.sin(latitude), math.sin(2 * latitude)]
    assert of(48.0, 11.0, 121.0) == pytest.approx([*expected, math.cos(angle), math.sin(angle), 1], abs=1e-5)


def test_the_loss_is_the_papers() -> None:
    """Equation for L_AN-full of arXiv 2306.02564, term by term."""
    random = np.random.default_rng(0)
    here, elsewhere = (random.normal(size=(5, 4)) for _ in range(2))
    label, weight = np.array([0, 3, 3, 1, 2]), 7.0

    def p(logits: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-logits))

    total = 0.0
    for row in range(5):
        for j in range(4):
            own = weight * math.log(p(here)[row, j]) if j == label[row] else math.log(1 - p(here)[row, j])
            total -= (own + math.log(1 - p(elsewhere)[row, j])) / 4
    found = assume_negative(torch.tensor(here), torch.tensor(elsewhere), torch.from_numpy(label), weight)
    assert float(found) == pytest.approx(total / 5)


@pytest.mark.slow
def test_it_learns_where_and_when_labels_live(world: World, model: GeoPrior) -> None:
    there = world.observe(1500, seed=7)
    truth, prior = world.density(there.places, there.days), predict(model, there.places, there.days)
    assert prior.dtype == np.float32 and ((prior >= 0) & (prior <= 1)).all()
    common = truth > 0.5
    scores = [roc_auc_score(common[:, j], prior[:, j]) for j in range(len(world.names))]
    assert min(scores) > 0.95
    undated = predict(model, there.places, np.zeros(len(there)))
    assert np.mean([roc_auc_score(common[:, j], undated[:, j]) for j in range(len(world.names))]) < np.mean(scores)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_numbers_alone(world: World) -> None:
    seen, spec = world.observe(200), GeoSpec(steps=5, batch_size=64)
    torch.manual_seed(3)
    one = fit_prior(seen, spec)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))
    two, other = fit_prior(seen, spec), fit_prior(seen, GeoSpec(steps=5, batch_size=64, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert not torch.equal(one.head.weight, other.head.weight)


def gain(world: World, model: GeoPrior, moved: Occurrences | None = None) -> tuple[combine.Combination, np.ndarray]:
    """Photos right with the prior minus without, one by one; fitted on half of the photos, told on the others."""
    taken = world.observe(1600, seed=11)
    asked = moved or taken
    photo, prior = world.photos(taken, clear=1.5), predict(model, asked.places, asked.days)
    observed, fitting = np.ones(len(world.names), bool), np.arange(len(taken)) % 2 == 0
    how = combine.fit(photo[fitting], prior[fitting], observed, taken.label[fitting])
    both = how(photo[~fitting], prior[~fitting], observed)
    labels = taken.label[~fitting]
    return how, (both.argmax(1) == labels).astype(float) - (photo[~fitting].argmax(1) == labels)


@pytest.mark.slow
def test_a_photo_gains_by_its_place(world: World, model: GeoPrior) -> None:
    how, difference = gain(world, model)
    low, _ = bootstrap_interval(difference)
    assert how.weight > 0 and low > 0.2


@pytest.mark.slow
def test_it_gains_nothing_where_places_tell_nothing() -> None:
    world = World(same=True)
    how, difference = gain(world, fit_prior(world.observe(2000), SPEC))
    low, high = bootstrap_interval(difference)
    assert how.weight == 0 and low <= 0 <= high


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["swapped", "shifted"])
def test_wrong_places_are_found_out_by_what_photos_gain(mistake: str, world: World, model: GeoPrior) -> None:
    """Latitude and longitude swapped, or longitudes a third of the globe away."""
    taken = world.observe(1600, seed=11)
    latitude, longitude = taken.places.T
    wrong = {
        "swapped": np.stack([np.clip(longitude, -90, 90), latitude], 1),
        "shifted": np.stack([latitude, (longitude + 300) % 360 - 180], 1),
    }[mistake]
    how, difference = gain(world, model, Occurrences(taken.labels, taken.label, wrong, taken.days))
    assert difference.mean() < 0.25 * gain(world, model)[1].mean() and how.weight <= 0.5


@pytest.mark.slow
def test_unseen_places_tell_how_good_it_is(world: World) -> None:
    seen = world.observe(2000)
    told = told_of_unseen_places(seen, SPEC)
    assert told["nats"] < 0.6 * told["nats_by_frequency"] and 200 < told["observations"] < 600 and told["cells"] > 20
    out = held_out(seen.places)
    assert 0.1 < out.mean() < 0.3 and (held_out(seen.places[:50]) == out[:50]).all()
    assert (held_out(seen.places, seed=1) != out).any()
    near = Occurrences(seen.labels, seen.label, 48 + 0.01 * np.random.default_rng(0).random((len(seen), 2)), seen.days)
    assert "too few" in told_of_unseen_places(near, SPEC)["reason"]


def test_one_label_is_no_prior() -> None:
    seen = Occurrences(("a", "b"), np.zeros(5, np.int64), np.ones((5, 2)), np.ones(5))
    with pytest.raises(InputError, match="fewer than two"):
        fit_prior(seen, SPEC)


def test_a_prior_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    prior = files.Prior(GeoPrior(3).eval(), ("a", "b", "c"), np.array([3, 0, 2]), {"nats": 1.0})
    files.save(prior, tmp_path / "geo")
    files.save(prior, tmp_path / "geo")
    back = files.load(str(tmp_path / "geo"))
    places, days = np.array([[48.0, 11.0], [-33.0, -70.0]]), np.array([121.0, 0.0])
    np.testing.assert_array_equal(predict(back.model, places, days), predict(prior.model, places, days))
    assert (back.labels, back.counts.tolist(), back.metrics) == (prior.labels, [3, 0, 2], prior.metrics)
    weights = tmp_path / "geo" / files.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"model\.safetensors: missing, damaged"):
        files.load(tmp_path / "geo")
    with pytest.raises(InputError, match="not a prior"):
        files.load(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        files.save(prior, tmp_path / "other")


def test_a_thousand_labels_stay_below_a_megabyte_in_half_precision() -> None:
    assert 2 * sum(each.numel() for each in GeoPrior(1000).parameters()) < 1_000_000
