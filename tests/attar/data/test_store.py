"""Photos that are kept decoded."""

from __future__ import annotations

import mmap
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attar.children import FORKS
from attar.data import store
from attar.data.photos import DataSpec, read_photos
from attar.data.store import Kept, PhotoStore


def picture(number: int) -> Image.Image:
    """An image of its own size and pixels."""
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (*rng.integers(1, 20, 2), 3), dtype=np.uint8))


def same(one: Image.Image | None, other: Image.Image) -> bool:
    return one is not None and one.size == other.size and one.mode == "RGB" and one.tobytes() == other.tobytes()


def test_what_is_put_is_got_and_what_is_not_there_is_not() -> None:
    kept = Kept(50, 100_000)
    for number in range(0, 50, 2):
        kept.put(number, picture(number))
    kept.put(4, picture(5))  # it is there already
    for number in range(50):
        assert (kept.get(number) is None) if number % 2 else same(kept.get(number), picture(number))


def test_it_is_mapped_or_copied_where_pillow_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(1, 10_000)
    kept.put(0, picture(7))
    mapped = kept.get(0)
    assert same(mapped, picture(7)) and mapped and mapped.readonly
    box = (0.5, 0.5, mapped.width - 0.25, mapped.height - 0.25)
    assert same(mapped.resize((5, 5), box=box), picture(7).resize((5, 5), box=box))
    mapped.putpixel((0, 0), (1, 2, 3))
    assert mapped.getpixel((0, 0)) == (1, 2, 3) and same(kept.get(0), picture(7)), "the store itself was changed"
    monkeypatch.delattr(Image.core, "map_buffer")
    copied = kept.get(0)
    assert same(copied, picture(7)) and copied and not copied.readonly


def test_an_image_that_has_no_room_is_not_kept_and_a_smaller_one_is() -> None:
    kept = Kept(4, 25)
    for number, width in enumerate((4, 3, 2, 1)):  # 16, 12, 8 and 4 bytes
        kept.put(number, Image.new("RGB", (width, 1)))
    assert [kept.get(number) is not None for number in range(4)] == [True, False, True, False]


@pytest.mark.skipif(not FORKS, reason="memory is shared where processes are forked")
def test_processes_share_what_each_of_them_put() -> None:
    kept = Kept(400, 10_000_000)

    def put(first: int) -> None:
        for number in range(first, 400, 3):
            kept.put(number, picture(number))

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=put, args=(first,)) for first in range(3)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    assert all(same(kept.get(number), picture(number)) for number in range(400))


def test_a_photo_is_decoded_when_it_is_asked_for_and_once_if_there_is_room(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    real = store.use_rgb

    def counted(use: Any, path: Path, part: Any, side: int) -> Any:
        decoded.append(path)
        return real(use, path, part, side=side)

    monkeypatch.setattr(store, "use_rgb", counted)
    photos = read_photos(DataSpec(str(shapes))).train
    full, none = PhotoStore(photos, 32), PhotoStore(photos, 32, budget=0)
    assert not decoded
    twice = [full[1].tobytes() for _ in range(2)]
    assert twice[0] == twice[1] and decoded == [photos[1].path]
    assert [none[1].tobytes() for _ in range(2)] == twice and decoded == [photos[1].path] * 3


def test_a_machine_that_has_less_memory_keeps_less(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mmap.mmap

    def small(file: int, size: int) -> mmap.mmap:
        if size > 3000:
            raise OSError(12, "Cannot allocate memory")
        return real(file, size)

    monkeypatch.setattr(mmap, "mmap", small)
    kept = Kept(2, 10_000)
    for number in range(2):
        kept.put(number, Image.new("RGB", (20, 20)))
    assert kept.get(0) is not None and kept.get(1) is None
