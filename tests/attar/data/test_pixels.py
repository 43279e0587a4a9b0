"""Pixels of many photos: the same whether all are kept or each part is decoded when it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attar.data import pixels
from attar.data.photos import DataSpec, Photos, load_pixels, read_photos
from attar.data.pixels import Pixels
from attar.errors import InputError
from attar.preprocessing import Preprocessing

HOW = Preprocessing(16)


@pytest.fixture
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(path=str(shapes)))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos were decoded each time."""
    counts: list[int] = []

    def counted(some: list[object], *more: object) -> np.ndarray:
        counts.append(len(some))
        return load_pixels(some, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(pixels, "load_pixels", counted)
    return counts


def test_few_photos_are_decoded_once(photos: Photos, decoded: list[int]) -> None:
    own = Pixels(photos.train, HOW)
    assert len(own) == len(photos.train) and decoded == []
    expected = load_pixels(photos.train, HOW)
    for start in (0, 8, 0):
        assert np.array_equal(own[start : start + 8], expected[start : start + 8])
    assert decoded == [len(photos.train)]


def test_of_many_only_the_part_that_is_asked_for(
    photos: Photos, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "KEPT", len(photos.train) * 16 * 16 * 3 - 1)
    own = Pixels(photos.train, HOW)
    expected = load_pixels(photos.train, HOW)
    for start in range(0, len(own), 7):
        assert np.array_equal(own[start : start + 7], expected[start : start + 7])
    assert max(decoded) == 7 and sum(decoded) == len(own)
    assert own[len(own) :].shape == (0, 16, 16, 3)


@pytest.mark.parametrize("kept", [0, pixels.KEPT])
def test_a_photo_that_changed_is_named(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers.pictures import SHAPES, draw

    for shape in SHAPES:
        (tmp_path / shape).mkdir()
        for number in range(4):
            draw(shape, number).save(tmp_path / shape / f"{number}.png")
    photos = read_photos(DataSpec(path=str(tmp_path)))
    monkeypatch.setattr(pixels, "KEPT", kept)
    victim = photos.val[0]
    (tmp_path / victim.shown).write_bytes(b"no picture")
    with pytest.raises(InputError, match="changed since it was checked"):
        Pixels(photos.val, HOW)[:]
