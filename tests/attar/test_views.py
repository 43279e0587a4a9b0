"""Views replay: the same numbers give the same picture, in any order, thread and size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import draw

from attar.data import DataSpec, labels_of, read_photos
from attar.views import PhotoStore, ViewLoader, ViewPolicy

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
    from PIL import Image

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
    assert {batch.view for batch in whole} == {3}
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
