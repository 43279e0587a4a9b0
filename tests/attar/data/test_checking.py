"""The memory of photos that were decoded before."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from attar.children import FORKS
from attar.data import checking
from attar.data.photos import DataSpec, labels_of, read_photos
from attar.data.store import PhotoStore
from attar.data.views import ViewLoader, ViewPolicy
from attar.errors import InputError
from attar.provenance import data_of, provenance
from attar.recipe import read_recipe
from helpers.photo_trees import photo, read, tree


def test_a_second_read_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "bad.png").write_bytes(b"x")
    decoded: list[str] = []
    real = checking.use_rgb

    def counted(use: Any, path: Path, part: Any) -> Any:
        decoded.append(path.name)
        return real(use, path, part)

    monkeypatch.setattr(checking, "use_rgb", counted)
    first = read(tmp_path)
    assert len(decoded) == 7
    decoded.clear()
    assert read(tmp_path) == first and decoded == []
    photo(tmp_path / "b" / "1.png", 500)
    os.utime(tmp_path / "b" / "1.png", ns=(1, 1))
    assert read(tmp_path).fingerprint != first.fingerprint and decoded == ["1.png"]


def table(content: str) -> bytes:
    """A SQLite file of another kind."""
    rows = sqlite3.connect(":memory:")
    rows.executescript(content)
    return rows.serialize()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"x" * 10_000, table("CREATE TABLE photos (name BLOB)"), table("CREATE TABLE others (a)")]
)
def test_a_damaged_memory_is_made_again(tmp_path: Path, content: bytes) -> None:
    tree(tmp_path, {"a": 2, "b": 2})
    first = read(tmp_path)
    memory = checking.memory_of(tmp_path)
    memory.write_bytes(content)
    assert read(tmp_path) == first
    assert known(tmp_path) == 4


def test_a_memory_that_turns_out_to_be_damaged_is_made_again(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 40, "b": 40})
    first = read(tmp_path)
    memory = checking.memory_of(tmp_path)
    content = bytearray(memory.read_bytes())
    content[5000:-4096] = bytes(len(content) - 4096 - 5000)  # its first page, which has the table's form, is whole
    memory.write_bytes(content)
    assert read(tmp_path) == first == read(tmp_path)
    assert known(tmp_path) == 80


def known(root: Path) -> int:
    """Of how many photos something is remembered."""
    rows = sqlite3.connect(checking.memory_of(root))
    return int(rows.execute("SELECT count(*) FROM photos").fetchone()[0])


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(read(tree(tmp_path / "photos", {"a": 2, "b": 2})).train) == 2


@pytest.mark.skipif(not FORKS, reason="processes are forked")
def test_many_small_photos_are_checked_by_processes_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, {"a": 90, "b": 90})
    (tmp_path / "a" / "bad.png").write_bytes(b"x")
    by_threads = read(tmp_path)
    checking.memory_of(tmp_path).unlink()
    here: list[str] = []
    real = checking.use_rgb

    def counted(use: Any, path: Path, part: Any) -> Any:
        here.append(path.name)
        return real(use, path, part)

    monkeypatch.setattr(checking, "use_rgb", counted)
    monkeypatch.setattr(checking, "MANY", 100)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert read(tmp_path) == by_threads and not here
    assert [skipped.path.name for skipped in by_threads.set_aside] == ["bad.png"]
    checking.memory_of(tmp_path).unlink()
    monkeypatch.setattr(checking, "SMALL_BYTES", 0)  # large ones are for threads
    assert read(tmp_path) == by_threads and len(here) == 181


def test_a_check_that_is_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"a": 30, "b": 30})
    decoded: list[str] = []
    real = checking.use_rgb

    def stopped(use: Any, path: Path, part: Any) -> Any:
        decoded.append(path.name)
        if stopping and len(decoded) == 40:
            raise KeyboardInterrupt
        return real(use, path, part)

    monkeypatch.setattr(checking, "use_rgb", stopped)
    monkeypatch.setattr(checking, "SAVE_SECONDS", 0.0)
    stopping = True
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path)
    stopping, done = False, known(tmp_path)
    decoded.clear()
    photos = read(tmp_path)
    assert len(photos.train) + len(photos.val) == 60 and 0 < done < 60 and len(decoded) == 60 - done


def bitmap(path: Path, middle: int) -> Path:
    """A photo of 20 kB, all of one size, that differ in a pixel of the middle."""
    content = bytearray(photo_bytes())
    content[len(content) // 2] = middle
    path.write_bytes(content)
    return path


def photo_bytes() -> bytes:
    import io

    import numpy as np
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(stream, "BMP")
    return stream.getvalue()


def kept_times(path: Path, content: bytes) -> None:
    """Give a file other content in place, and set back its times as far as a user can."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_photo_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    """It kept the fingerprint, and so the student that was made from the photos before."""
    tree(tmp_path, {"a": 3, "b": 3})
    first, second = (bitmap(tmp_path / "a" / f"{name}.bmp", value) for name, value in (("x", 1), ("y", 2)))
    before = read(tmp_path)
    contents = first.read_bytes(), second.read_bytes()
    kept_times(first, contents[1])
    kept_times(second, contents[0])
    after = read(tmp_path)
    assert after.fingerprint != before.fingerprint
    digests = {name: digest for name, _, _, digest in after.listing}
    assert digests == {n: checking.hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in digests}


def test_a_photo_swapped_by_renaming_is_noticed(tmp_path: Path) -> None:
    """Renaming keeps all times of the content, and a copy with `cp -p` too."""
    tree(tmp_path, {"a": 3, "b": 3})
    first, second = (bitmap(tmp_path / "a" / f"{name}.bmp", value) for name, value in (("x", 1), ("y", 2)))
    os.utime(second, ns=(first.stat().st_atime_ns, first.stat().st_mtime_ns))
    before = read(tmp_path)
    first.rename(tmp_path / "a" / "z")
    second.rename(first)
    (tmp_path / "a" / "z").rename(second)
    assert read(tmp_path).fingerprint != before.fingerprint


def test_thorough_reading_trusts_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that keeps no time of the inode, a change of the middle is seen by hashing the whole."""
    monkeypatch.setattr(checking, "stamp", lambda path: [path.stat().st_size])
    tree(tmp_path, {"a": 3, "b": 3})
    place = bitmap(tmp_path / "a" / "x.bmp", 1)
    before = read(tmp_path)
    bitmap(place, 2)
    assert read(tmp_path).fingerprint == before.fingerprint, "or this test shows nothing"
    assert read_photos(DataSpec(str(tmp_path)), thorough=True).fingerprint != before.fingerprint


def test_photos_in_a_shard_of_the_same_size_and_time_are_noticed(tmp_path: Path) -> None:
    import io
    import tarfile

    def shard(shift: int) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for number in range(8):
                content = bytearray(photo_bytes())
                content[10_000] = number + shift
                for name, data in ((f"{number}.bmp", bytes(content)), (f"{number}.cls", b"ab"[number % 2 :][:1])):
                    about = tarfile.TarInfo(name)
                    about.size = len(data)
                    archive.addfile(about, io.BytesIO(data))
        return stream.getvalue()

    (tmp_path / "0.tar").write_bytes(shard(0))
    before = read(tmp_path)
    kept_times(tmp_path / "0.tar", shard(8))
    assert read(tmp_path).fingerprint != before.fingerprint


def test_parquet_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    """The photos of a parquet file are kept in a cache folder, which kept those of the file before."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def rows(first: int) -> bytes:
        images = [{"bytes": photo(tmp_path / "x.png", first + n).read_bytes(), "path": None} for n in range(8)]
        table = pa.table({"image": images, "label": ["ab"[n % 2] for n in range(8)]})
        pq.write_table(table, tmp_path / "x.parquet", compression="none")
        (tmp_path / "x.png").unlink()
        return (tmp_path / "x.parquet").read_bytes()

    one, two = rows(0), rows(100)
    assert len(one) == len(two)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "0.parquet").write_bytes(one)
    before = read(tmp_path)
    stat = (tmp_path / "0.parquet").stat()
    (tmp_path / "0.parquet").write_bytes(two)
    os.utime(tmp_path / "0.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert read(tmp_path).fingerprint != before.fingerprint


def test_unchecked_photos_are_not_read_and_known_by_name_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, {"a": 8, "b": 8})
    checked = read(tmp_path)
    (tmp_path / "a" / "0.png").write_bytes(b"no photo")

    def refused(*_: Any) -> Any:
        raise AssertionError("it was read")

    monkeypatch.setattr(checking, "use_rgb", refused)
    monkeypatch.setattr(checking, "_digest", refused)
    photos = read(tmp_path, check=False)
    assert photos.labels == checked.labels and len(photos.train) + len(photos.val) == 16 and not photos.set_aside
    assert [warning.partition(":")[0] for warning in photos.warnings] == ["photos are not checked (data.check"]
    assert photos.fingerprint != checked.fingerprint
    (tmp_path / "a" / "0.png").write_bytes(b"no photos")
    assert read(tmp_path, check=False).fingerprint != photos.fingerprint, "another size"
    (tmp_path / "a" / "0.png").write_bytes(b"no phot!")
    assert read(tmp_path, check=False) == photos, "the same name and size"
    again = data_of(provenance(photos, 0, {}))
    assert not again.check and read_photos(again) == photos


def test_a_damaged_photo_that_was_not_checked_is_one_error_when_it_is_drawn(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 8, "b": 8})
    for path in tmp_path.glob("a/*.png"):
        path.write_bytes(b"no photo")
    photos = read(tmp_path, check=False)
    for processes in (False, True) if FORKS else (False,):
        loader = ViewLoader(
            PhotoStore(photos.train, 32),
            labels_of(photos.train),
            ViewPolicy(),
            size=32,
            batch_size=4,
            seed=0,
            workers=2,
            processes=processes,
        )
        with pytest.raises(InputError, match=r"a/\d.png: changed since .*, or not checked \(data.check\): "):
            list(loader.epoch(0))


def test_the_recipe_can_leave_the_check_out_and_is_the_old_one_if_it_does_not() -> None:
    assert not read_recipe(None, ["data.check=false"], {"path": "photos"}).data.spec("photos").check
    assert "check" not in read_recipe(None, [], {"path": "photos"}).model_dump()["data"]
    assert read_recipe(None, ["data.check=false"], {"path": "photos"}).model_dump()["data"]["check"] is False
