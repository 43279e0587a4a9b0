"""The teacher cache: what it holds, what it refuses, and how it continues."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attar.errors import InputError
from distill.cache import TeacherCache

ABOUT = {"teacher": "t", "data": "d", "views": "v", "shape": (6, 4)}
LOGITS = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)


def filled(folder: Path) -> TeacherCache:
    cache = TeacherCache(folder, **ABOUT)
    cache.build(range(3), lambda view: LOGITS[view])
    return cache


def test_round_trip_in_half_precision(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    cache = TeacherCache(tmp_path / "c", **ABOUT)
    index = np.array([5, 0, 2])
    got = cache.logits(1, index)
    assert got.dtype == np.float32 and np.array_equal(got, LOGITS[1][index].astype(np.float16).astype(np.float32))
    assert sum(p.stat().st_size for p in (tmp_path / "c").glob("*.npy")) == 3 * (cache.bytes_per_view + 128)


def test_an_interrupted_build_continues(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path / "c", **ABOUT)
    cache.build(range(2), lambda view: LOGITS[view])
    computed = []
    again = TeacherCache(tmp_path / "c", **ABOUT)
    assert again.missing(range(3)) == [2]
    again.build(range(3), lambda view: computed.append(view) or LOGITS[view])
    assert computed == [2] and again.missing(range(3)) == []


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [("teacher", "t2", "teacher"), ("data", "d2", "photos"), ("views", "v2", "view policy"), ("shape", (7, 4), "size")],
)
def test_any_other_key_is_an_error_that_names_it(key: str, value: object, name: str, tmp_path: Path) -> None:
    filled(tmp_path / "c")
    with pytest.raises(InputError, match=f"another {name}"):
        TeacherCache(tmp_path / "c", **{**ABOUT, key: value})


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_shard_is_named(damage: str, tmp_path: Path) -> None:
    filled(tmp_path / "c")
    shard = tmp_path / "c" / "view-00001.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content if damage == "flip" else content[:-3])
    if damage == "gone":
        shard.unlink()
    cache = TeacherCache(tmp_path / "c", **ABOUT)
    cache.logits(0, np.arange(6))
    with pytest.raises(InputError, match="view-00001"):
        cache.logits(1, np.arange(6))
