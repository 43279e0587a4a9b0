"""Photos in tar shards: the same photos as from the folder they came from, or one clear error."""

from __future__ import annotations

import io
import json
import os
import random
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from attar.data import shards as reading
from attar.data.archives import expand
from attar.data.photos import DataSpec, Photos, load_pixels, read_photos
from attar.data.store import PhotoStore
from attar.distill import distill_student
from attar.errors import InputError
from attar.files import sha256, user_cache
from attar.preprocessing import Preprocessing
from attar.provenance import data_of, provenance
from attar.recipe import DistillSpec
from helpers.pictures import SHAPES

Member = tuple[str, bytes]
GENTLE = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, members: Iterable[Member], kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def samples(count: int, first: int = 0) -> list[Member]:
    """So many photos of the classes a and b, in turn."""
    numbers = range(first, first + count)
    return [m for i in numbers for m in ((f"{i:04d}.png", png(i)), (f"{i:04d}.cls", b"ab"[i % 2 : i % 2 + 1]))]


def read(path: Path, **options: object) -> Photos:
    return read_photos(DataSpec(str(path), **options))


def seen(photos: Photos) -> list[list[tuple[str, bytes]]]:
    """Class and pixels of every photo, in order."""
    plain = Preprocessing(8, 1.0)
    return [
        [(photos.labels[photo.label], pixels.tobytes()) for photo, pixels in zip(split, load_pixels(split, plain))]
        for split in (photos.train, photos.val)
    ]


def as_members(root: Path, label: Callable[[str], Member]) -> list[list[Member]]:
    """A folder's photos as samples: the photo under its own name, and its label beside it."""
    names = [path.relative_to(root) for path in sorted(root.rglob("*.png"))]
    return [[(name.as_posix(), (root / name).read_bytes()), label(name.with_suffix("").as_posix())] for name in names]


# --- the same photos as from folders -------------------------------------------------------------


@given(
    counts=st.lists(st.integers(2, 6), min_size=2, max_size=4),
    shards=st.integers(1, 3),
    kind=st.sampled_from(["name", "number", "json name", "json number"]),
    layout=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
    seed=st.integers(0, 1000),
)
@GENTLE
def test_shards_in_any_order_are_the_folder_they_came_from(
    counts: list[int], shards: int, kind: str, layout: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, packed = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("shards")
    names = ["rose", "tulip", "Ölbaum", "a b"][: len(counts)]
    for place, (name, count) in enumerate(zip(names, counts)):
        for number in range(count):
            (root / name).mkdir(exist_ok=True)
            (root / name / f"{number}.png").write_bytes(png(1000 * place + number))

    def label(key: str) -> Member:
        name = key.split("/")[0]
        value: str | int = names.index(name) if "number" in kind else name
        if kind.startswith("json"):
            return f"{key}.json", json.dumps({"label" if "number" in kind else "class_name": value}).encode()
        return f"{key}.cls", f"{value}\n".encode()

    (packed / "classes.txt").write_text("\n".join(names), encoding="utf-8")
    members = as_members(root, label)
    chance = random.Random(seed)
    chance.shuffle(members)
    for number in range(shards):
        own = [member for sample in members[number::shards] for member in sample]
        chance.shuffle(own)
        write(packed / f"{number:03d}.tar", own, layout)
    folder, tar = read(root, seed=seed), read(packed, seed=seed)
    assert tar.labels == folder.labels and tar.fingerprint == folder.fingerprint
    assert seen(tar) == seen(folder)


def test_names_of_shards_tell_the_split(tmp_path: Path) -> None:
    write(tmp_path / "flowers-train-000.tar", samples(4))
    write(tmp_path / "flowers-train-001.tar", samples(2, 4))
    write(tmp_path / "flowers-validation-000.tar", samples(2, 6))
    write(tmp_path / "flowers-test-000.tar", samples(2, 8))
    photos = read(tmp_path)
    assert [p.part.name for p in photos.train if p.part] == [f"{i:04d}.png" for i in range(6)]
    assert [p.part.name for p in photos.val if p.part] == ["0006.png", "0007.png"]
    assert read(tmp_path / "flowers-{train-{000..001},validation-000}.tar").fingerprint == photos.fingerprint
    assert len(read(tmp_path / "flowers-train-*.tar").train) == 4, "training shards alone are split"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards whose headers are read."""
    names: list[str] = []
    read_headers = reading._samples

    def noted(path: Path, stream: Any) -> Any:
        names.append(path.name)
        return read_headers(path, stream)

    monkeypatch.setattr(reading, "_samples", noted)
    return names


def test_headers_are_read_once_and_again_when_a_shard_changes(tmp_path: Path, opened: list[str]) -> None:
    write(tmp_path / "0.tar", samples(4))
    write(tmp_path / "1.tar", samples(4, 4))
    first = read(tmp_path)
    assert opened == ["0.tar", "1.tar"]
    opened.clear()
    assert read(tmp_path) == first and opened == []
    write(tmp_path / "1.tar", samples(6, 4))
    assert len(read(tmp_path).train) + len(read(tmp_path).val) == 10 and opened == ["1.tar"]


def test_other_class_names_are_not_taken_from_memory(tmp_path: Path, opened: list[str]) -> None:
    numbers = {b"a": b"0", b"b": b"1"}
    write(tmp_path / "0.tar", [(name, numbers.get(content, content)) for name, content in samples(4)])
    (tmp_path / "classes.txt").write_text("rose\ntulip\n")
    assert read(tmp_path).labels == ("rose", "tulip")
    (tmp_path / "classes.txt").write_text("aster\ndaisy\n")
    assert read(tmp_path).labels == ("aster", "daisy") and opened == ["0.tar"] * 2


@pytest.mark.parametrize("content", ["", "[]", '{"stamp": 1}', "found"])
def test_a_damaged_memory_of_a_shard_is_made_again(content: str, tmp_path: Path, opened: list[str]) -> None:
    write(tmp_path / "0.tar", samples(4))
    first = read(tmp_path)
    [memory] = (user_cache() / "files").iterdir()
    memory.write_text(json.dumps(json.loads(memory.read_text()) | {"found": [[1]]}) if content == "found" else content)
    assert read(tmp_path) == first and opened == ["0.tar"] * 2


def test_folders_of_shards_tell_the_split_and_names_may_repeat(tmp_path: Path) -> None:
    write(tmp_path / "train" / "0.tar", samples(4))
    again = [(name, content) for (name, _), (_, content) in zip(samples(4), samples(4, 4))]
    write(tmp_path / "train" / "1.tar", again)
    write(tmp_path / "val" / "2.tar", samples(2, 8))
    (tmp_path / "labels.txt").write_text("b\na\n\n")
    photos = read(tmp_path)
    assert (len(photos.train), len(photos.val)) == (8, 2)
    assert [p.path.name for p in photos.train] == ["0.tar"] * 4 + ["1.tar"] * 4


def test_a_second_photo_of_a_sample_and_hidden_files_do_not_matter(tmp_path: Path) -> None:
    extra = [("0000.mask.png", png(7)), ("0000.txt", b"a caption"), ("._0000.png", b"x"), ("notes.md", b"#")]
    with tarfile.open(write(tmp_path / "a.tar", samples(6)), "a") as archive:
        folder = tarfile.TarInfo("more/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in extra:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    photos = read(tmp_path)
    assert len(photos.train) + len(photos.val) == 6 and not photos.set_aside


def test_damaged_photos_are_set_aside_by_name(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    more = [("x.png", stream.getvalue()[:2000]), ("x.cls", b"a"), ("y.png", b""), ("y.cls", b"b")]
    photos = read(write(tmp_path / "s.tar", samples(8) + more))
    assert [(str(s.path), s.reason.split(" ")[0]) for s in photos.set_aside] == [
        (f"{tmp_path}/s.tar/x.png", "damaged"),
        (f"{tmp_path}/s.tar/y.png", "empty"),
    ]
    assert len(photos.train) + len(photos.val) == 8


def test_nothing_in_a_shard_reaches_the_disk_or_runs(tmp_path: Path) -> None:
    """Names that lead elsewhere are names, and a pickled member is never opened."""
    hostile = [("../../escaped.png", png(90)), ("../../escaped.cls", b"a"), ("/abs.png", png(91)), ("/abs.cls", b"b")]
    hostile += [("0000.pyd", b"\x80\x04cos\nsystem\n"), ("0001.pkl", b"cos\nsystem\n(S'touch ran'\ntR.")]
    shard = write(tmp_path / "deep" / "er" / "s.tar", samples(4) + hostile)
    before = sorted(tmp_path.rglob("*"))
    photos = read(shard)
    assert len(photos.train) + len(photos.val) == 6 and sorted(tmp_path.rglob("*")) == before
    assert all(p.path == shard for p in photos.train + photos.val)


# --- as from folders: provenance, store, unlabelled photos, memory -------------------------------


def test_provenance_reads_the_same_photos_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "s" / "train-00.tar", samples(6))
    write(tmp_path / "s" / "val-00.tar", samples(2, 6))
    monkeypatch.chdir(tmp_path)
    photos = read(Path("s/{train,val}-*.tar"))
    about = provenance(photos, 0, {})
    monkeypatch.chdir("/")
    again = read_photos(data_of(about))
    assert again.fingerprint == photos.fingerprint == about["data"]["fingerprint"]
    assert [p.part for p in again.train] == [p.part for p in photos.train]


def test_the_store_decodes_slices(tmp_path: Path) -> None:
    photos = read(write(tmp_path / "s.tar", samples(8)))
    kept, not_kept = PhotoStore(photos.train, 8), PhotoStore(photos.train, 8, budget=0)
    for number, photo in enumerate(photos.train):
        assert photo.part and kept[number].getpixel((0, 0)) == (int(photo.part.name[:4]), 0, 7)
        assert kept[number].tobytes() == not_kept[number].tobytes()


def test_unlabelled_photos_in_shards(tmp_path: Path) -> None:
    write(tmp_path / "s" / "s.tar", samples(8))
    write(tmp_path / "more" / "u.tar", [("0.png", png(3)), ("1.png", png(50)), ("2.png", png(51))])
    photos = read(tmp_path / "s", unlabelled=str(tmp_path / "more"))
    assert [p.part.name for p in photos.unlabelled if p.part] == ["1.png", "2.png"]
    assert [(s.path.name, "among the labelled" in s.reason) for s in photos.set_aside] == [("0.png", True)]


def test_a_shard_changed_since_the_check_is_named(tmp_path: Path) -> None:
    shard = write(tmp_path / "s.tar", samples(8))
    photos = read(shard)
    part = photos.train[-1].part
    assert part is not None
    os.truncate(shard, part.offset + part.size - 4)  # what is left of the PNG file decodes
    with pytest.raises(InputError, match=rf"s\.tar/{part.name}: changed since .*s\.tar ends before it"):
        load_pixels(photos.train, Preprocessing(8))


@pytest.mark.slow
def test_a_student_from_shards_is_the_one_from_the_folder(shapes: Path, tmp_path: Path) -> None:
    members = as_members(shapes, lambda key: (f"{key}.cls", key.split("/")[0].encode()))
    for number in range(3):
        write(tmp_path / "shards" / f"{number}.tar", [m for sample in members[number::3] for m in sample])
    spec = DistillSpec(
        name="mobilenetv4_conv_small_035", pretrained=False, size=32, epochs=1, batch_size=12, head_width=64
    )
    folder, shards = read(shapes), read(tmp_path / "shards")
    assert shards.labels == tuple(sorted(SHAPES))
    made = [distill_student(photos, spec, tmp_path / name) for name, photos in (("f", folder), ("s", shards))]
    other = distill_student(replace(shards, train=shards.train[::-1]), spec, tmp_path / "o")
    weights = [sha256(bundle.path / "model.safetensors") for bundle in (*made, other)]
    assert weights[0] == weights[1] != weights[2]


# --- refusals ------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read(path)
    assert str(path.parent) in str(caught.value)


@pytest.mark.parametrize("kept", [100, 512 + 40, 5 * 1024 + 7, -1])
def test_a_shard_that_ends_early(tmp_path: Path, kept: int) -> None:
    """In a header, in a photo, and by the end mark alone: -1 stands for just before it."""
    shard = write(tmp_path / "train-007.tar", samples(8))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: kept if kept > 0 else len(whole.rstrip(b"\0")) + 511 & ~511])
    refused(shard, r"train-007\.tar: .*cut short")


def test_a_header_damaged_midway_and_an_archive_appended(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tar", samples(8))
    whole = bytearray(shard.read_bytes())
    shard.write_bytes(whole + whole)
    refused(shard, r"a\.tar: damaged, or another archive appended")
    whole[2048 : 2048 + 512] = b"\xff" * 512
    shard.write_bytes(whole)
    refused(shard, r"a\.tar: damaged")


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ([("x.png", png(9))], r"sample x has no label\. Add x\.cls"),
        ([("x.cls", b"a")], r"sample x has x\.cls but no photo"),
        ([("x.v2.png", png(9))], r"sample x has x\.v2\.png but no photo"),
        ([("x.png", png(9)), ("x.jpg", png(9)), ("x.cls", b"a")], r"sample x has two photos"),
        ([("0000.png", png(9))], r"0000\.png is in it twice"),
        ([("x.png", png(9)), ("x.cls", b"")], r"x\.cls: its label is ''"),
        ([("x.png", png(9)), ("x.cls", b"\xff\xfe")], r"x\.cls: not readable as a label"),
        ([("x.png", png(9)), ("x.cls", b"a" * (2 << 20))], r"x\.cls: \d+ bytes, too many"),
        ([("x.png", png(9)), ("x.json", b'{"label": ')], r"x\.json: not readable as a label"),
        ([("x.png", png(9)), ("x.json", b'{"label": 1.5}')], r"x\.json: its label is 1\.5"),
        ([("x.png", png(9)), ("x.json", b'{"label": true}')], r"x\.json: its label is True"),
        ([("x.png", png(9)), ("x.json", b'["a"]')], r"x\.json: its label is None"),
        ([("x.png", png(9)), ("x.cls", b"2")], r"x\.cls: unknown class number '2'|unknown class '2'"),
        ([("x.png", png(9)), ("x.cls", b"-1")], r"x\.cls: unknown class '-1'"),
        ([("x.png", png(9)), ("x.cls", b"tulipp")], r"unknown class 'tulipp'\. Did you mean 'tulip'"),
    ],
)
def test_bad_samples(tmp_path: Path, more: list[Member], match: str) -> None:
    (tmp_path / "classes.txt").write_text("rose\ntulip\n")
    good = [(name, {b"a": b"rose", b"b": b"tulip"}.get(content, content)) for name, content in samples(8)]
    assert read(write(tmp_path / "good.tar", good)).labels == ("rose", "tulip")
    refused(write(tmp_path / "bad.tar", good + more), r"bad\.tar: .*" + match)


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(write(tmp_path / "a.tar", samples(8)), "a") as archive:
        link = tarfile.TarInfo("x.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    refused(tmp_path / "a.tar", r"a\.tar: x\.png is a link")


@pytest.mark.parametrize(("text", "match"), [("a\nb\na\n", "'a' is listed twice"), ("a\n\nb\n", "'' is listed twice")])
def test_bad_class_lists(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    refused(write(tmp_path / "a.tar", samples(8)), f"classes.txt: class {match}")


def test_bad_files_and_patterns(tmp_path: Path) -> None:
    write(tmp_path / "train-000.tar", samples(8))
    refused(tmp_path / "train-{000..001}.tar", r"train-001\.tar: no such file")
    refused(tmp_path / "val-*.tar", r"val-\*\.tar: no such file")
    write(tmp_path / "val-000.tar", samples(2, 8))
    write(tmp_path / "more.tar", samples(2, 10))
    refused(tmp_path / "*.tar", r"more\.tar: its name tells no split")
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "train.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(InputError, match=r"train\.tar\.gz: compressed"):
        read(tmp_path / "z")
    (tmp_path / "gz.tar").write_bytes(b"\x1f\x8b" + bytes(2000))
    refused(tmp_path / "gz.tar", r"gz\.tar: cut short, compressed, or no tar file")


def test_expand(tmp_path: Path) -> None:
    for name in ("a-08.tar", "a-09.tar", "a-10.tar", "b-9.tar", "[c].tar"):
        (tmp_path / name).touch()
    named: Mapping[str, list[str]] = {
        "a-{08..10}.tar": ["a-08.tar", "a-09.tar", "a-10.tar"],
        "{b,a}-{9,10}.tar": [],
        "b-{9..9}.tar": ["b-9.tar"],
        "?-*9.tar": ["a-09.tar", "b-9.tar"],
        "[c].tar": ["[c].tar"],
    }
    for pattern, names in named.items():
        if names:
            assert [path.name for path in expand(tmp_path / pattern)] == names
        else:
            with pytest.raises(InputError, match=re.escape("b-10.tar")):
                expand(tmp_path / pattern)


# --- made to surprise ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x-{0..300000000}.tar",
        "x-" + "{0..9}" * 9 + ".tar",
        "x-{1..99999999999999999999}.tar",
        "{a,{0..99999},{1,2}{3..99999}}.tar",
    ],
)
def test_a_pattern_of_too_many_names_is_refused_at_once(name: str, tmp_path: Path) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match="spells over 100,000 names"):
        expand(tmp_path / name)
    assert time.process_time() - start < 5


def test_patterns_spell_as_in_a_shell(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b01", "b02", "c"):
        (tmp_path / f"{name}.tar").write_bytes(b"")
    assert [path.stem for path in expand(tmp_path / "{a{1..2},b{01..02},c}.tar")] == ["a1", "a2", "b01", "b02", "c"]


def header(**fields: bytes) -> bytes:
    """A tar header of one small file, some of its fields overwritten, its checksum made to fit."""
    block = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT))
    places = {"size": 124, "magic": 257, "type": 156, "mode": 100, "mtime": 136}
    for name, value in fields.items():
        block[places[name] : places[name] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "content",
    [
        header(size=b"\x80" + b"\xff" * 11),
        header(size=b"\xff" * 12),
        header(size=b"\x80" + b"\0" * 3 + b"\x7f" * 8),
        header(type=b"S") + b"\xff\xd8" * 256,
        header(type=b"x", size=b"00000000010\0") + b"99 path=a\n".ljust(512, b"\0"),
        header(type=b"x", size=b"00000000020\0") + b"16 GNU.sparse.map=x\n".ljust(512, b"\0") + header(),
        header(type=b"x", size=b"00000000020\0") + b"20 GNU.sparse.size=y\n".ljust(512, b"\0") + header(),
        header(type=b"L", size=b"77777777777\0") + b"a" * 512,
        header(type=b"3"),
        header(type=b"6"),
        header(mtime=b"z" * 12),
    ],
)
def test_strange_headers_are_one_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content + b"\0" * 1024)
    with pytest.raises(InputError) as caught:
        read_photos(DataSpec(str(path)))
    assert len(str(caught.value)) < 1000
