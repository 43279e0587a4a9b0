"""Deltas: they make the right file, follow what moved, and hostile ones are refused before they grow."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.deploy.release.delta import MOST_SEGMENTS, Unfit, applied, delta_of
from attar.deploy.release.folder import Channel, Delta, File, Model, Pointer, Release, ReleaseFolder
from attar.errors import InputError
from helpers.deltas import packed


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A content, and one that came of it: bytes changed, parts removed, exchanged and put in."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    old = chance.randbytes(draw(st.integers(0, 3000)))
    new = bytearray(old)
    for _ in range(draw(st.integers(0, 6))):
        at, length = chance.randrange(len(new) + 1), draw(st.integers(0, 700))
        what = draw(st.sampled_from(["change", "remove", "put in", "move"]))
        if what == "change":
            new[at : at + length] = bytes((each + chance.randrange(3)) % 256 for each in new[at : at + length])
        elif what == "remove":
            del new[at : at + length]
        elif what == "put in":
            new[at:at] = chance.randbytes(length)
        else:
            new = new[at:] + new[:at]
    return old, bytes(new)


@given(pairs())
def test_a_delta_makes_the_new_file_of_the_old_one(pair: tuple[bytes, bytes]) -> None:
    old, new = pair
    assert applied(old, delta_of(old, new), len(new)) == new


def test_small_changes_and_moved_parts_take_little() -> None:
    chance = random.Random(0)
    old = chance.randbytes(60_000)
    new = bytes((each + (chance.random() < 0.1)) % 256 for each in old)
    names = [chance.randbytes(16) for _ in range(3)]  # what stays as it is between the weights of layers
    old = b"".join([old[:20_000], names[0], old[20_000:40_000], names[1], old[40_000:], names[2]])
    new = b"".join([b"more", new[:20_000], names[0], bytes(700), new[20_000:40_000], names[1], new[40_003:], names[2]])
    assert len(delta_of(old, new)) < 0.15 * len(new)
    assert len(delta_of(old, chance.randbytes(len(new)))) > 0.99 * len(new)


def test_what_is_no_delta_is_refused() -> None:
    old, new = bytes(range(256)) * 4, bytes(range(1, 256)) * 4
    size, good = len(new), delta_of(old, new)
    for delta in (
        b"",
        b"no zlib",
        good[:-1],
        good + b"\0",
        packed([(size, 0)], bytes(size - 1)),
        packed([(size, 0)], bytes(size + 1)),
        packed([(size - 1, 0)], bytes(size)),
        packed([(size, 0), (1, 0)], bytes(size)),
        packed([(2**32 - 1, 0), (size + 1, 0)], bytes(size)),
        packed([], bytes(size)),
        packed([(0, 0)] * (MOST_SEGMENTS + 1), bytes(size)),
        zlib.compress(b"abc"),
        zlib.compress(b"\xff" * 100),
    ):
        with pytest.raises(Unfit):
            applied(old, delta, size)
    assert applied(old, packed([(size, 2**32 - 1)], new), size) == new, "from behind the old file's end"


def test_a_bomb_is_not_decompressed() -> None:
    bomb = packed([(1000, 0)], bytes(50_000_000))
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(Unfit):
        applied(bytes(1000), bomb, 1000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


def test_a_folder_is_refused_where_a_delta_makes_another_file(tmp_path: Path) -> None:
    old, new = bytes(100), bytes(range(100))
    names = {"new": new}
    for delta, said in ((delta_of(old, new), ""), (delta_of(old, old), "does not make"), (b"none", "no delta")):
        place = ReleaseFolder(tmp_path / (said or "good"))
        called = Delta.name(sha256(old).hexdigest(), sha256(new).hexdigest())
        files: list[File] = []
        paths: dict[str, Path] = {}
        for name, content in {**names, called: delta}.items():
            paths[name] = tmp_path / sha256(content).hexdigest()
            paths[name].write_bytes(content)
            files.append(File(name, paths[name].name, len(content)))
        release = Release("app", Model("plants", "0" * 64), {}, tuple(files))
        pointer = Pointer("app", 1, "", "", (), {"stable": Channel(place.store(release, paths), 1.0)})
        place.check(pointer)  # what it begins with is not here
        (place.path / "files" / sha256(old).hexdigest()).write_bytes(old)
        place = ReleaseFolder(place.path)
        with pytest.raises(InputError, match=said) if said else nullcontext():
            place.check(pointer)
