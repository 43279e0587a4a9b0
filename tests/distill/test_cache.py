"""The teacher cache: what it holds, what it refuses, and how it continues."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attar.distill.cache import TeacherCache
from attar.errors import GateError, InputError
from attar.files import write_sealed

ABOUT = {"teacher": "t", "data": "d", "views": "v", "shape": (6, 4)}
RNG = np.random.default_rng(0)
STORED = {
    "logits": RNG.normal(size=(3, 6, 4)).astype(np.float32),
    "feature_map": RNG.normal(size=(3, 6, 5, 2, 3)).astype(np.float32),
}
BOTH = ("logits", "feature_map")


def batches(view: int) -> Iterator[dict[str, np.ndarray]]:
    """A view's answers to four photos, then to two."""
    for part in (slice(0, 4), slice(4, 6)):
        yield {kind: answers[view][part] for kind, answers in STORED.items()}


def filled(folder: Path, views: int = 3, kinds: tuple[str, ...] = BOTH) -> TeacherCache:
    cache = TeacherCache(folder, **ABOUT)
    cache.expect({kind: STORED[kind].shape[2:] for kind in kinds})
    cache.build(range(views), batches, kinds)
    return cache


def test_round_trip_in_half_precision(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    cache = TeacherCache(tmp_path / "c", **ABOUT)
    assert cache.shapes == {"logits": (4,), "feature_map": (5, 2, 3)}
    index = np.array([5, 0, 2])
    for kind, stored in cache.outputs(1, index, BOTH).items():
        wanted = STORED[kind][1][index].astype(np.float16).astype(np.float32)
        assert stored.dtype == np.float32 and np.array_equal(stored, wanted), kind
    assert np.array_equal(cache.logits(1, index), cache.outputs(1, index)["logits"])


def test_photos_each_in_a_view_of_its_own(tmp_path: Path) -> None:
    views, index = np.array([2, 0, 1, 0, 2, 2]), np.array([5, 5, 3, 0, 1, 5])
    for kind, stored in filled(tmp_path / "c").outputs(views, index, BOTH).items():
        wanted = STORED[kind][views, index].astype(np.float16).astype(np.float32)
        assert stored.dtype == np.float32 and np.array_equal(stored, wanted), kind


def test_only_what_is_asked_for_is_stored(tmp_path: Path) -> None:
    filled(tmp_path / "c", kinds=("logits",))
    assert sorted(p.name for p in (tmp_path / "c").glob("*.npy")) == [f"view-0000{view}.npy" for view in range(3)]


def test_the_size_is_told_before_it_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = TeacherCache(tmp_path / "c", **ABOUT)
    cache.expect({"feature_map": (5, 2, 3)})
    assert cache.bytes_to_build(range(3)) == 3 * 6 * 4 * 2
    assert cache.bytes_to_build(range(3), BOTH) == 3 * 6 * (4 + 30) * 2
    cache.build(range(3), batches, BOTH)
    assert "3 views of 6 photos (logits, feature_map): 1.2 kB" in capsys.readouterr().err
    stored = sum(np.load(path).nbytes for path in (tmp_path / "c").glob("*.npy"))
    assert stored == 3 * 6 * (4 + 30) * 2 and cache.bytes_to_build(range(3), BOTH) == 0
    cache.build(range(3), batches, BOTH)
    assert capsys.readouterr().err == ""


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"needs 3 views of 6 photos \(logits, feature_map\): 1\.2 kB.* 1\.0 kB left"):
        filled(tmp_path / "c")
    assert not list((tmp_path / "c").iterdir())
    filled(tmp_path / "c", views=1)


def test_an_interrupted_build_continues(tmp_path: Path) -> None:
    filled(tmp_path / "c", views=1)
    cache, computed = TeacherCache(tmp_path / "c", **ABOUT), []

    def cut_off(view: int) -> Iterator[dict[str, np.ndarray]]:
        computed.append(view)
        yield from batches(view)
        if view == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.build(range(3), cut_off, BOTH)
    again = TeacherCache(tmp_path / "c", **ABOUT)
    assert computed == [1, 2] and again.missing(range(3), BOTH) == [2]
    assert not list((tmp_path / "c").glob("*00002*"))
    again.build(range(3), batches, BOTH)
    assert again.missing(range(3), BOTH) == []
    assert np.array_equal(again.logits(2, np.arange(6)), STORED["logits"][2].astype(np.float16))


def test_two_processes_may_each_add_views(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "c", views=0), filled(tmp_path / "c", views=0)
    one.build([0, 2], batches, BOTH)
    other.build([1], batches, ("logits",))
    again = TeacherCache(tmp_path / "c", **ABOUT)
    assert again.missing(range(3)) == [] and again.missing(range(3), BOTH) == [1]


def test_another_kind_is_added_beside_what_is_there(tmp_path: Path) -> None:
    filled(tmp_path / "c", kinds=("logits",))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").glob("*.npy")}
    cache = TeacherCache(tmp_path / "c", **ABOUT)
    assert cache.missing(range(3)) == [] and cache.missing(range(3), BOTH) == [0, 1, 2]
    cache.expect({"feature_map": (5, 2, 3)})
    assert cache.bytes_to_build(range(3), BOTH) == 3 * 6 * 30 * 2
    cache.build(range(3), batches, BOTH)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list((tmp_path / "c").glob("*.feature_map.npy"))) == 3


def test_a_cache_of_attar_0_1_is_refused_as_such(tmp_path: Path) -> None:
    filled(tmp_path / "c", kinds=("logits",))
    index = tmp_path / "c" / "cache.json"
    about = {**json.loads(index.read_text()), "schema": 1}
    del about["sha256"]
    index.write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"another schema version \(1, not 2\).*build it again"):
        TeacherCache(tmp_path / "c", **ABOUT)


@pytest.mark.parametrize("change", [{"kinds": {"logits": 4}}, {"shards": [1]}, {"top_k": {"k": 3}}, {"kinds": None}])
def test_an_index_of_another_shape_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    filled(tmp_path / "c", kinds=("logits",))
    index = tmp_path / "c" / "cache.json"
    about = {**json.loads(index.read_text()), **change}
    del about["sha256"]
    write_sealed(index, about)
    with pytest.raises(InputError, match=r"damaged \(.*Remove it to build"):
        TeacherCache(tmp_path / "c", **ABOUT)


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [("teacher", "t2", "teacher"), ("data", "d2", "photos"), ("views", "v2", "view policy"), ("shape", (7, 4), "size")],
)
def test_any_other_key_is_an_error_that_names_it(key: str, value: object, name: str, tmp_path: Path) -> None:
    filled(tmp_path / "c")
    with pytest.raises(InputError, match=f"another {name}"):
        TeacherCache(tmp_path / "c", **{**ABOUT, key: value})


def test_answers_of_another_shape_are_an_error_that_names_it(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    with pytest.raises(InputError, match=r"another feature_map shape \(\(5, 2, 3\), not \(5, 4, 4\)\)"):
        TeacherCache(tmp_path / "c", **ABOUT).expect({"feature_map": (5, 4, 4)})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_answers_that_are_no_half_precision_numbers_are_refused(value: float, tmp_path: Path) -> None:
    def diverged(view: int) -> Iterator[dict[str, np.ndarray]]:
        for number, batch in enumerate(batches(view)):
            yield {"logits": batch["logits"] if number == 0 else np.full_like(batch["logits"], value)}

    cache = TeacherCache(tmp_path / "c", **ABOUT)
    with pytest.raises(GateError, match="logits for view 0 of photos 4 to 5 are not finite"):
        cache.build(range(1), diverged)
    assert not list((tmp_path / "c").iterdir())


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_damaged_shard_is_named(damage: str, kind: str, tmp_path: Path) -> None:
    filled(tmp_path / "c")
    shard = tmp_path / "c" / ("view-00001.npy" if kind == "logits" else "view-00001.feature_map.npy")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content if damage == "flip" else content[:-3])
    if damage == "gone":
        shard.unlink()
    cache = TeacherCache(tmp_path / "c", **ABOUT)
    cache.outputs(0, np.arange(6), BOTH)
    with pytest.raises(InputError, match=shard.name):
        cache.outputs(1, np.arange(6), BOTH)
