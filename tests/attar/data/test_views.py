"""Views replay: the same numbers give the same picture, in any order, thread and size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import kstest

from attar.data.photos import DataSpec, labels_of, read_photos
from attar.data.store import PhotoStore
from attar.data.views import Mix, ViewLoader, ViewPolicy
from attar.errors import InputError
from attar.files import digest_of
from attar.recipe import read_recipe, validate
from helpers.pictures import draw

POLICY = ViewPolicy(vertical_flip=True, rotate=10, color=0.4)


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 10**6), view=st.integers(0, 10**4), size=st.integers(8, 64))
def test_a_view_is_a_pure_function(index: int, view: int, size: int) -> None:
    photo = draw("cross", 3)
    first = POLICY.draw(photo, index, view, size)
    np.random.default_rng(0).random(5)
    assert first.shape == (size, size, 3) and first.dtype == np.uint8
    assert np.array_equal(first, POLICY.draw(photo, index, view, size))


def test_different_views_and_photos_differ() -> None:
    photo = draw("circle", 1)
    seen = {POLICY.draw(photo, i, v, 32).tobytes() for i in range(5) for v in range(5)}
    assert len(seen) == 25


def test_a_larger_view_shows_the_same_crop() -> None:
    """The teacher's larger view, shrunk, is the student's view."""
    photo = draw("square", 2, size=256)
    for view in range(6):
        small = POLICY.draw(photo, 0, view, 32).astype(float)
        large = Image.fromarray(POLICY.draw(photo, 0, view, 128)).resize((32, 32), Image.Resampling.BOX)
        assert np.abs(np.asarray(large).astype(float) - small).mean() < 8


def test_no_augmentation_is_the_photo_itself() -> None:
    plain = ViewPolicy(crop_area=(1.0, 1.0), aspect=1.0, horizontal_flip=False, color=0.0)
    photo = draw("circle", 4, size=40)
    assert np.array_equal(plain.draw(photo, 0, 0, 40), np.asarray(photo))


@pytest.mark.parametrize("flip", ["horizontal_flip", "vertical_flip"])
def test_flips_mirror_about_half_of_the_views(flip: str) -> None:
    settings = {"horizontal_flip": False, "vertical_flip": False, flip: True}
    policy = ViewPolicy(crop_area=(1.0, 1.0), aspect=1.0, color=0.0, **settings)
    photo = draw("cross", 0, size=32)
    plain = np.asarray(photo)
    mirrored = plain[:, ::-1] if flip == "horizontal_flip" else plain[::-1]
    views = [policy.draw(photo, i, 0, 32) for i in range(200)]
    count = sum(np.array_equal(v, mirrored) for v in views)
    assert all(np.array_equal(v, plain) or np.array_equal(v, mirrored) for v in views)
    assert 70 < count < 130


def test_an_epoch_shows_every_photo_once_and_resumes_in_the_middle(shapes) -> None:
    photos = read_photos(DataSpec(str(shapes)))
    loader = ViewLoader(PhotoStore(photos.train, 32), labels_of(photos.train), POLICY, size=32, batch_size=5, seed=1)
    whole = list(loader.epoch(3))
    index = np.concatenate([batch.index for batch in whole])
    assert len(set(index.tolist())) == len(index) == 5 * loader.steps
    assert {int(view) for batch in whole for view in batch.view} == {3}
    for batch, again in zip(whole[2:], loader.epoch(3, start=2), strict=True):
        assert np.array_equal(batch.index, again.index) and bool((batch.images == again.images).all())
        assert batch.labels.tolist() == [photos.train[i].label for i in batch.index]


def test_the_teachers_order_is_the_data_order(shapes) -> None:
    photos = read_photos(DataSpec(str(shapes)))
    store = PhotoStore(photos.train, 32)
    loader = ViewLoader(store, labels_of(photos.train), POLICY, size=32, batch_size=5, seed=1)
    batches = list(loader.in_order(0))
    assert np.concatenate([b.index for b in batches]).tolist() == list(range(len(photos.train)))
    assert np.array_equal(batches[1].images[0].permute(1, 2, 0).numpy(), POLICY.draw(store[5], 5, 0, 32))


def test_a_store_over_its_budget_decodes_again(shapes) -> None:
    photos = read_photos(DataSpec(str(shapes)))
    full, small = PhotoStore(photos.train, 32), PhotoStore(photos.train, 32, budget=20_000)
    assert all(full[i].tobytes() == small[i].tobytes() for i in range(len(photos.train)))


# --- mixed views ---------------------------------------------------------------------------------

MIXED = ViewPolicy(mixup=0.8, cutmix=1.0, mixed=0.7)
NUMBERS = {"index": st.integers(0, 10**6), "view": st.integers(0, 10**4), "seed": st.integers(0, 10**4)}


@settings(max_examples=200, deadline=None)
@given(photos=st.integers(2, 10**6), alpha=st.floats(0.05, 5), **NUMBERS)
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_mix_is_a_pure_function_with_another_photo(
    kind: str, photos: int, alpha: float, index: int, view: int, seed: int
) -> None:
    index %= photos
    policy = ViewPolicy(seed=seed, **{kind: alpha})
    mix = policy.mix(index, view, photos)
    np.random.default_rng(0).random(5)
    assert mix == ViewPolicy(seed=seed, count=3, **{kind: alpha}).mix(index, view, photos)
    assert 0 <= mix.partner < photos and mix.partner != index and 0 <= mix.rate <= 1
    if kind == "mixup":
        assert mix.box is None
    else:
        left, top, right, bottom = mix.box
        assert 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1
        assert mix.rate == pytest.approx(1 - (right - left) * (bottom - top))


def test_shares_of_the_policy_hold() -> None:
    mixes = [MIXED.mix(i, v, 50) for i in range(50) for v in range(40)]
    some = [mix for mix in mixes if mix is not None]
    assert len(some) / len(mixes) == pytest.approx(0.7, abs=0.05)
    assert sum(mix.box is not None for mix in some) / len(some) == pytest.approx(0.5, abs=0.05)
    assert len({mix.partner for mix in some}) == 50
    # Beta(0.8, 0.8) has mean 1/2 and variance 1/4 / 2.6.
    rates = np.array([mix.rate for mix in some if mix.box is None])
    assert rates.mean() == pytest.approx(0.5, abs=0.05) and rates.var() == pytest.approx(0.25 / 2.6, abs=0.02)
    assert ViewPolicy().mix(0, 0, 50) is None and ViewPolicy(mixup=1.0).mix(0, 0, 1) is None
    assert ViewPolicy(mixup=1.0, mixed=0.0).mix(0, 0, 50) is None


def test_a_blend_is_what_the_rate_says() -> None:
    own, other = np.full((20, 20, 3), 200, np.uint8), np.full((20, 20, 3), 40, np.uint8)
    assert (Mix(1, 0.25).blend(own, other) == 80).all()
    pasted = Mix(1, 0.75, (0.5, 0.0, 1.0, 0.5)).blend(own, other)
    assert (pasted[:10, 10:] == 40).all() and (pasted == 200).mean() == 0.75 and (own == 200).all()


def test_mixing_leaves_the_views_as_they_were_and_their_fingerprint_too() -> None:
    plain, mixed = ViewPolicy(vertical_flip=True), ViewPolicy(vertical_flip=True, mixup=1.0)
    assert np.array_equal(plain.draw(draw("cross", 3), 5, 2, 32), mixed.draw(draw("cross", 3), 5, 2, 32))
    value = "e722a6b3c09e13a07d08ab98e8cb21c45301c633b72f2c42074b44cf9efad151"
    assert ViewPolicy().fingerprint == value == ViewPolicy(mixed=0.5).fingerprint == ViewPolicy(count=3).fingerprint
    prints = [ViewPolicy(**d).fingerprint for d in ({"mixup": 1.0}, {"mixup": 0.2}, {"cutmix": 1.0})]
    assert len({value, *prints, ViewPolicy(mixup=1.0, mixed=0.5).fingerprint}) == 5


def test_a_loader_mixes_pixels_and_labels_alike_in_any_order(shapes) -> None:
    photos = read_photos(DataSpec(str(shapes)))
    store, labels = PhotoStore(photos.train, 32), labels_of(photos.train)
    epoch = {
        int(i): (image, label)
        for batch in ViewLoader(store, labels, MIXED, size=32, batch_size=5, seed=1).epoch(3)
        for i, image, label in zip(batch.index, batch.images, batch.labels)
    }
    for batch in ViewLoader(store, labels, MIXED, size=32, batch_size=7, seed=4).in_order(3):
        for i, image, label in zip(batch.index, batch.images, batch.labels):
            if int(i) in epoch:  # the other loader, another batch, another order
                assert (image == epoch[int(i)][0]).all() and (label == epoch[int(i)][1]).all()
            mix = MIXED.mix(int(i), 3, len(store))
            own = MIXED.draw(store[i], int(i), 3, 32)
            shares = np.eye(3)[labels[i]]
            if mix is not None:
                own = mix.blend(own, MIXED.draw(store[mix.partner], mix.partner, 3, 32))
                shares = mix.rate * shares + (1 - mix.rate) * np.eye(3)[labels[mix.partner]]
            assert np.array_equal(image.permute(1, 2, 0).numpy(), own)
            np.testing.assert_allclose(label.numpy(), shares, atol=1e-6)


def test_photos_without_labels_are_mixed_too(shapes) -> None:
    photos = read_photos(DataSpec(str(shapes)))
    store = PhotoStore(photos.train, 32)
    batch = next(ViewLoader(store, np.full(len(store), -1), MIXED, size=32, batch_size=5, seed=1).epoch(0))
    assert batch.labels.tolist() == [-1] * 5


@pytest.mark.parametrize("wrong", ["mixup=-1", "mixed=1.5"])
def test_a_wrong_rate_is_named(wrong: str) -> None:
    with pytest.raises(InputError, match=rf"views.*{wrong.partition('=')[0]} is "):
        read_recipe(None, [f"views.{wrong}"])


# --- repeated views ------------------------------------------------------------------------------


def loader_of(shapes, repeats: int, batch_size: int = 6, count: int = 8) -> ViewLoader:
    photos = read_photos(DataSpec(str(shapes)))
    policy = ViewPolicy(repeats=repeats, count=count, mixup=0.5)
    store = PhotoStore(photos.train, 16)
    return ViewLoader(store, labels_of(photos.train), policy, size=16, batch_size=batch_size, seed=1)


def pairs(batches) -> list[tuple[int, int]]:
    return [pair for b in batches for pair in zip(b.index.tolist(), b.view.tolist())]


def test_a_batch_shows_each_of_its_photos_in_several_views(shapes) -> None:
    loader = loader_of(shapes, repeats=3)
    assert loader.steps == loader_of(shapes, repeats=1).steps
    for batch in loader.epoch(4):
        seen = pairs([batch])
        assert len(set(seen)) == 6 and len({index for index, _ in seen}) == 2
        assert {view for _, view in seen} == {3, 4, 5}  # the second round of three epochs
        for row, (index, view) in enumerate(seen):
            mix = loader.policy.mix(index, view, len(loader.store))
            image = loader._drawing._draw(index, view, mix)
            assert np.array_equal(batch.images[row].permute(1, 2, 0).numpy(), image)
            assert batch.labels[row, loader.labels[index]] >= mix.rate - 1e-6


def test_a_round_shows_what_as_many_epochs_show_without_repeats(shapes) -> None:
    once, thrice = loader_of(shapes, 1), loader_of(shapes, 3)
    rounds = [range(0, 3), range(6, 9)]  # the views of the second begin again: 6, 7, 0
    for epochs in rounds:
        expected, shown = (sorted(pair for e in epochs for pair in pairs(each.epoch(e))) for each in (once, thrice))
        assert expected == shown and len(set(shown)) == 3 * 36
    assert thrice.policy.seen(4) == range(6) and once.policy.seen(4) == range(4) and thrice.policy.seen(40) == range(8)


def test_repeats_resume_in_the_middle_and_are_shared_out_among_ranks(shapes, monkeypatch) -> None:
    from attar.train import distributed

    loader = loader_of(shapes, repeats=3, batch_size=12)
    whole = list(loader.epoch(1))
    for batch, again in zip(whole[1:], loader.epoch(1, start=1), strict=True):
        assert pairs([batch]) == pairs([again]) and bool((batch.images == again.images).all())
    monkeypatch.setattr(distributed, "count", lambda: 2)
    monkeypatch.setattr(distributed, "local_count", lambda: 1)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(list(loader.epoch(1)))
    for batch, *own in zip(whole, *shares, strict=True):
        assert sorted(pairs(own)) == sorted(pairs([batch])) and [len(each.index) for each in own] == [6, 6]
        assert not set(own[0].index) & set(own[1].index)  # a photo is decoded in one rank


def test_repeats_change_no_view_and_so_no_cache() -> None:
    for how in ({}, {"mixup": 0.5}):
        assert ViewPolicy(repeats=4, **how).fingerprint == ViewPolicy(**how).fingerprint


def test_a_batch_that_cannot_be_made_of_repeats(shapes) -> None:
    from attar.cli.pipeline import check

    with pytest.raises(InputError, match=r"batch of 8 .*3 times \(views.repeats\).*multiple of 3"):
        next(loader_of(shapes, repeats=3, batch_size=8).epoch(0))
    given = [f"data.path={shapes}", "views.repeats=3"]
    with pytest.raises(InputError, match="batch of 32"):
        check(read_recipe(None, given))
    check(read_recipe(None, [*given, "student.batch_size=24"]))
    with pytest.raises(InputError, match=r"repeats 9 .*count: 8"):
        read_recipe(None, ["views.repeats=9"])


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(100, 100), (133, 100), (250, 100), (100, 250), (500, 100), (90, 1000)]),
    low=st.floats(0.05, 0.9),
    aspect=st.sampled_from([1.0, 1.2, 1.33, 2.0]),
)
def test_crops_keep_the_limits_of_area_and_aspect(shape: tuple[int, int], low: float, aspect: float) -> None:
    policy = ViewPolicy(crop_area=(low, 1.0), aspect=aspect)
    width, height = shape
    largest = min(1.0, aspect * min(shape) / max(shape))
    for seed in range(20):
        left, top, right, bottom = policy._crop(np.random.default_rng(seed), width, height)
        w, h = right - left, bottom - top
        assert 1 / aspect - 1e-9 <= w / h <= aspect + 1e-9
        assert min(low, largest) - 1e-9 <= w * h / (width * height) <= largest + 1e-9
        assert left >= 0 and top >= 0 and right <= width + 1e-9 and bottom <= height + 1e-9


@pytest.mark.parametrize("shape", [(100, 100), (133, 100), (250, 100), (100, 300)])
def test_the_area_of_crops_is_uniform_over_what_is_left_of_its_range(shape: tuple[int, int]) -> None:
    policy = ViewPolicy(crop_area=(0.2, 1.0), aspect=1.33)
    boxes = [policy._crop(np.random.default_rng(seed), *shape) for seed in range(2000)]
    areas = [(r - x) * (b - y) / (shape[0] * shape[1]) for x, y, r, b in boxes]
    high = min(1.0, 1.33 * min(shape) / max(shape))
    assert kstest(areas, "uniform", args=(0.2, high - 0.2)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("color", 1.5),
        ("color", -0.1),
        ("color", float("nan")),
        ("aspect", 0.5),
        ("aspect", float("inf")),
        ("crop_area", (0.8, 0.3)),
        ("crop_area", (0.0, 1.0)),
        ("crop_area", (0.5, 1.5)),
        ("rotate", -5.0),
        ("rotate", float("nan")),
        ("mixup", -1.0),
        ("cutmix", float("inf")),
        ("mixed", 1.5),
        ("count", 0),
        ("seed", -1),
    ],
)
def test_a_policy_that_cannot_be_drawn_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{key} is "):
        ViewPolicy(**{key: value})
    with pytest.raises(InputError, match=rf"views.*{key}( is |: Input should be a finite)"):
        validate({"views": {key: value}}, "recipe.yaml")


def striped(width: int, height: int) -> Image.Image:
    """Black, with a white stripe at its left end, a tenth of its width."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 10] = 255
    return Image.fromarray(pixels)


def test_views_of_a_long_photo_squashed_and_between_borders() -> None:
    plain = {"crop_area": (1.0, 1.0), "aspect": 1.0, "horizontal_flip": False, "color": 0.0}
    squashed = ViewPolicy(fit="squash", **plain).draw(striped(500, 100), 0, 0, 50)
    assert (squashed[:, :4] > 200).all() and (squashed[:, 7:] < 60).all()
    bordered = ViewPolicy(fit="pad", **plain).draw(striped(500, 100), 0, 0, 50)
    assert (bordered[:19] == 128).all() and (bordered[31:] == 128).all() and (bordered[21:29, :4] > 200).all()


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_their_crops_keep_area_and_aspect_of_the_square(fit: str) -> None:
    policy = ViewPolicy(fit=fit, crop_area=(0.3, 0.6), aspect=1.2)
    for view in range(300):
        rng = np.random.default_rng(view)
        left, top, right, bottom = policy._box(rng, 500, 100) if fit == "squash" else policy._box(rng, 100, 100)
        width, height = (right - left) / (500 if fit == "squash" else 100), (bottom - top) / 100
        assert width * height + 1e-9 >= 0.3 and width * height <= 0.6 + 1e-9
        assert 1 / 1.2 - 1e-9 <= width / height <= 1.2 + 1e-9
        assert 0 <= left < right <= (500.001 if fit == "squash" else 100.001) and 0 <= top < bottom <= 100.001


def test_the_identity_of_views_knows_the_fit_and_old_caches_stay_valid() -> None:
    assert ViewPolicy(fit="pad").fingerprint != ViewPolicy().fingerprint != ViewPolicy(fit="squash").fingerprint
    old = {key: value for key, value in ViewPolicy().to_json().items() if key != "fit"}
    ignored = ("count", "repeats", "mixup", "cutmix", "mixed")
    assert ViewPolicy().fingerprint == digest_of({"drawn": 2, **{k: v for k, v in old.items() if k not in ignored}})


def test_a_recipe_trains_on_what_its_student_is_evaluated_with() -> None:
    assert validate({"student": {"fit": "squash"}}, "r").views.fit == "squash"
    assert validate({"student": {"fit": "squash"}, "views": {"fit": "crop"}}, "r").views.fit == "crop"
    assert validate({"student": {"fit": "pad"}, "views": {"rotate": 3}}, "r").views == ViewPolicy(fit="pad", rotate=3)
    assert validate({}, "r").views.fit == "crop"
    with pytest.raises(InputError, match=r"student\.fit.*'crop', 'squash' or 'pad'"):
        validate({"student": {"fit": "stretch"}}, "r")
    with pytest.raises(InputError, match=r"fit is one of crop, squash, pad, not border"):
        validate({"views": {"fit": "border"}}, "r")
