"""Photos in a real S3 server and on a web server: the same photos as on disk, whatever goes wrong on the way."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from attar.data import mirror, remote
from attar.data.mirror import _removed, limit, local_copy
from attar.data.photos import DataSpec, read_photos
from attar.data.remote import copy_folder, here, is_remote, place_of
from attar.errors import InputError
from attar.files import write_json
from helpers import warm
from helpers.faulty import FAULTS, Faulty

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

SHARDS = {"train-000.tar": 0, "train-001.tar": 8, "val-000.tar": 16}
"""Names of shards and the number of their first photo."""


def shard(first: int, count: int = 8) -> bytes:
    """A tar shard of photos of the classes a and b, in turn."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(first, first + count):
            photo = io.BytesIO()
            Image.new("RGB", (8, 8), (number * 9, 7 * (number % 2), 99)).save(photo, "PNG")
            for end, content in ((".png", photo.getvalue()), (".cls", b"ab"[number % 2 : number % 2 + 1])):
                about = tarfile.TarInfo(f"{number:04d}{end}")
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto_server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto_server.start()
    host, port = moto_server.get_host_and_port()
    yield f"{host}:{port}"
    moto_server.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The way to the store, on which requests can go wrong."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr(mirror, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(mirror, "PIECE", 3000)
    monkeypatch.setattr(mirror, "TRIES", 4)
    import fsspec

    with Faulty(server).serving() as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL", way.address)
        fsspec.config.conf["s3"] = {"skip_instance_cache": True}
        yield way
        del fsspec.config.conf["s3"]


def put(store: Faulty, files: dict[str, bytes], bucket: str = "plants") -> None:
    import s3fs

    there = s3fs.S3FileSystem(skip_instance_cache=True, s3_additional_kwargs={"ACL": "public-read"})
    if there.exists(bucket):
        there.rm(bucket, recursive=True)
    there.mkdir(bucket)
    for name, content in files.items():
        there.pipe(f"{bucket}/{name}", content)
    store.asked.clear()


def shards(below: str = "shards/") -> dict[str, bytes]:
    return {below + name: shard(first) for name, first in SHARDS.items()}


def fingerprint_on_disk(tmp_path: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return read_photos(DataSpec(str(tmp_path / "shards"))).fingerprint


def content_requests(store: Faulty) -> list[str]:
    return [path for method, path, wanted in store.asked if method == "GET" and wanted]


def test_the_photos_of_a_bucket_are_those_on_disk_and_come_once(store: Faulty, tmp_path: Path) -> None:
    files = {**shards(), "shards/classes.txt": b"", "shards/notes.md": b"not read"}
    del files["shards/classes.txt"]
    put(store, files)
    photos = read_photos(DataSpec("s3://plants/shards/"))
    assert photos.fingerprint == fingerprint_on_disk(tmp_path / "disk", shards())
    assert len(photos.train) == 16 and len(photos.val) == 8 and photos.root == here("s3://plants/shards/")
    assert not any("notes.md" in path for path in content_requests(store))
    store.asked.clear()
    assert read_photos(DataSpec("s3://plants/shards/")).fingerprint == photos.fingerprint
    assert content_requests(store) == [] and store.asked, "the listing alone is asked for again"


@pytest.mark.parametrize(
    ("pattern", "train", "val"),
    [("{train,val}-*.tar", 16, 8), ("{train-000,val-000}.tar", 8, 8), ("train-00[01].tar", 12, 4)],
)
def test_patterns_name_files(pattern: str, train: int, val: int, store: Faulty) -> None:
    put(store, shards())
    photos = read_photos(DataSpec(f"s3://plants/shards/{pattern}"))
    assert (len(photos.train), len(photos.val)) == (train, val)


def test_folders_of_splits_below_the_folder(store: Faulty) -> None:
    put(store, {"shards/train/0.tar": shard(0), "shards/val/0.tar": shard(8), "shards/a/b/c.tar": b"too deep"})
    photos = read_photos(DataSpec("s3://plants/shards/"))
    assert (len(photos.train), len(photos.val)) == (8, 8)
    assert len(read_photos(DataSpec("s3://plants/shards/{train,val}/*.tar")).train) == 8


def test_a_listing_that_fails_in_part_loses_no_file(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec's `find` leaves out what it could not list, and a data set would silently be smaller."""
    import s3fs

    put(store, {"shards/train/0.tar": shard(0), "shards/val/0.tar": shard(8)})
    ls, failed = s3fs.S3FileSystem._ls, []

    async def sometimes(self: Any, path: str, *words: Any, **more: Any) -> Any:
        if path.endswith("val") and not failed:
            failed.append(path)
            raise OSError("for a moment")
        return await ls(self, path, *words, **more)

    monkeypatch.setattr(s3fs.S3FileSystem, "_ls", sometimes)
    assert len(read_photos(DataSpec("s3://plants/shards/")).val) == 8 and failed


@pytest.fixture
def impatient(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stall is no longer waited for; on a busy machine others take as long, and each costs a try."""
    monkeypatch.setattr(remote, "TIMEOUT", 2.0)
    monkeypatch.setattr(mirror, "TRIES", 9)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_on_the_way_is_asked_for_again(fault: str, store: Faulty, tmp_path: Path) -> None:
    put(store, shards())
    store.faults += [fault, "", fault, fault]
    photos = read_photos(DataSpec("s3://plants/shards/"))
    assert not store.faults and photos.fingerprint == fingerprint_on_disk(tmp_path, shards())


@pytest.mark.usefixtures("impatient")
def test_a_web_server_too(store: Faulty, tmp_path: Path) -> None:
    put(store, shards())
    store.faults += [*FAULTS]
    web = f"{store.address}/plants/shards"
    photos = read_photos(DataSpec(f"{web}/{{train-000,train-001,val-000}}.tar"))
    assert not store.faults and photos.fingerprint == fingerprint_on_disk(tmp_path, shards())
    for wrong, said in ((web, "does not list"), (f"{web}/*.tar", "does not list"), (f"{web}/no.tar", "no such file")):
        with pytest.raises(InputError, match=said):
            read_photos(DataSpec(wrong))


def test_a_store_that_stays_away_is_one_line(store: Faulty) -> None:
    put(store, shards())
    store.down = True
    with pytest.raises(InputError, match=r"s3://plants/shards/: cannot be reached"):
        read_photos(DataSpec("s3://plants/shards/"))


def test_what_was_fetched_before_it_went_away_is_not_fetched_again(store: Faulty, tmp_path: Path) -> None:
    put(store, shards())
    whole = sum(len(content) for content in shards().values())
    store.faults += [""] * 5 + ["503"] * 100
    with pytest.raises(InputError, match="cannot be reached"):
        read_photos(DataSpec("s3://plants/shards/"))
    store.faults.clear()
    before = len(content_requests(store))
    store.asked.clear()
    photos = read_photos(DataSpec("s3://plants/shards/"))
    assert photos.fingerprint == fingerprint_on_disk(tmp_path, shards())
    pieces = sum(-(-len(content) // 3000) for content in shards().values())
    assert before and len(content_requests(store)) == pieces - 5, (whole, pieces)


def test_without_the_store_the_copy_is_used_and_that_is_said(store: Faulty, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, shards())
    photos = read_photos(DataSpec("s3://plants/shards/"))
    store.down = True
    assert read_photos(DataSpec("s3://plants/shards/")).fingerprint == photos.fingerprint
    assert "cannot be reached. Its copy in" in capsys.readouterr().err


def test_what_changed_in_the_store_changes_here(store: Faulty, tmp_path: Path) -> None:
    put(store, shards())
    read_photos(DataSpec("s3://plants/shards/"))
    changed = {**shards(), "shards/train-001.tar": shard(40), "shards/val-001.tar": shard(24)}
    del changed["shards/val-000.tar"]
    put(store, changed)
    photos = read_photos(DataSpec("s3://plants/shards/"))
    assert photos.fingerprint == fingerprint_on_disk(tmp_path, changed)
    assert not any("train-000" in path for path in content_requests(store)), "that one stayed the same"


class Plain(BaseHTTPRequestHandler):
    """A web server that gives parts of files, and says of them what the test has it say."""

    files: ClassVar[dict[str, bytes]]
    told: ClassVar[dict[str, str]]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        content = self.files.get(self.path.rpartition("/")[2])
        if content is None:
            self.send_error(404)
            return
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        piece = content[int(part[1]) : int(part[2]) + 1] if part else content
        self.send_response(206 if part else 200)
        for name, value in {**self.told, "Accept-Ranges": "bytes", "Content-Length": str(len(piece))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(piece)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def plain() -> Iterator[tuple[type[Plain], str]]:
    handler = type("Handler", (Plain,), {"files": dict(shards("")), "told": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{web.server_port}/{{train-000,train-001,val-000}}.tar"
        web.shutdown()


def test_a_web_server_without_etags_tells_a_changed_file_by_its_date(plain: tuple[type[Plain], str]) -> None:
    handler, address = plain
    handler.told["Last-Modified"] = "Mon, 02 Nov 2026 10:00:00 GMT"
    before = read_photos(DataSpec(address)).fingerprint
    assert read_photos(DataSpec(address)).fingerprint == before
    handler.files["train-001.tar"] = shard(40)
    assert len(shard(40)) == len(shard(8)), "of the same size"
    handler.told["Last-Modified"] = "Mon, 02 Nov 2026 10:00:01 GMT"
    assert read_photos(DataSpec(address)).fingerprint != before


def test_of_a_web_server_that_says_nothing_of_changes_one_is_warned(
    plain: tuple[type[Plain], str], capfd: pytest.CaptureFixture[str]
) -> None:
    _, address = plain
    read_photos(DataSpec(address))
    assert "Warning" not in capfd.readouterr().err
    read_photos(DataSpec(address))
    err = " ".join(capfd.readouterr().err.split())
    assert "does not say when train-000.tar changes" in err and f"Remove {copy_folder(address)}" in err


def test_a_file_that_changes_while_it_is_copied(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, shards())
    info = remote.info
    monkeypatch.setattr(remote, "info", lambda *words: {**(info(*words) or {}), "ETag": "another"})
    with pytest.raises(InputError, match="changed while it was copied"):
        read_photos(DataSpec("s3://plants/shards/"))


def test_copies_keep_within_the_limit(
    store: Faulty, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, {**shards("one/"), **shards("two/"), **shards("three/")})
    total = sum(map(len, shards().values()))
    first, second = (local_copy(f"s3://plants/{name}") for name in ("one", "two"))
    os.close(mirror._held.pop(first.parent))  # as if its process had ended
    os.utime(first.parent / "in-use", (0, 0))
    monkeypatch.setenv(mirror.LIMIT, f"{2.5 * total / 1000:.3f}kB")
    assert local_copy("s3://plants/three").is_dir()
    assert not first.exists() and second.is_dir() and "to make room" in capsys.readouterr().err
    monkeypatch.setenv(mirror.LIMIT, "1kB")
    with pytest.raises(InputError, match="name fewer files"):
        local_copy("s3://plants/one")
    monkeypatch.setenv(mirror.LIMIT, f"{total + 2000}")
    with pytest.raises(InputError, match="no room"):  # the others are in use
        local_copy("s3://plants/one")


def test_a_copy_that_another_process_uses_stays(store: Faulty) -> None:
    put(store, shards())
    folder = local_copy("s3://plants/shards").parent
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(1, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, folder / "in-use"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout and other.stdout.readline()
    os.close(mirror._held.pop(folder))
    assert not _removed(folder)
    other.communicate(b"\n")
    assert _removed(folder) and not folder.exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://host/a.tar", "photos are read from"),
        ("https://me:secret@host/a.tar", "netrc"),
        ("https://host/a.tar?X-Amz-Signature=abc", "signature"),
        ("s3://{a,b}/x.tar", "names no bucket"),
    ],
)
def test_addresses_that_are_refused_show_no_secret(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        place_of(address)
    assert "secret" not in str(caught.value) and "abc" not in str(caught.value)


def test_no_shards_no_bucket_and_names_that_lead_out(store: Faulty) -> None:
    put(store, {"photos/rose/1.jpg": b"x", "evil/b\\..\\a.tar": shard(0), "up/y/../z.tar": b"x"})
    with pytest.raises(InputError, match="pack them into shards"):
        local_copy("s3://plants/photos")
    with pytest.raises(InputError, match="no such file in the store"):
        local_copy("s3://plants/photos/*.tar")
    with pytest.raises(InputError, match="cannot be a file here"):
        local_copy("s3://plants/evil")
    with pytest.raises(InputError, match="cannot be a file here"):
        local_copy("s3://plants/up/*/*/*.tar")
    with pytest.raises(InputError, match="nosuch"):
        local_copy("s3://nosuch/shards")


def test_a_list_of_the_copy_that_names_other_places_removes_nothing_there(store: Faulty, tmp_path: Path) -> None:
    put(store, shards())
    folder = local_copy("s3://plants/shards").parent
    victim = folder.parent / "victim"
    victim.write_text("stays")
    write_json(folder / "about.json", {"files": {"../../victim": [1, ""]}})
    with pytest.raises(InputError, match="not to be trusted"):
        local_copy("s3://plants/shards")
    assert victim.read_text() == "stays"


@pytest.mark.parametrize("text", ["1.5GB", "300 mb", "7", "2TB"])
def test_sizes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mirror.LIMIT, text)
    assert limit() == {"1.5GB": 1_500_000_000, "300 mb": 300_000_000, "7": 7, "2TB": 2 * 10**12}[text]
    monkeypatch.setenv(mirror.LIMIT, "much")
    with pytest.raises(InputError, match="not a size"):
        limit()


def test_what_an_address_is() -> None:
    assert is_remote("s3://a/b") and is_remote("HF://a") and not is_remote("C:\\photos") and not is_remote("a/b:c")


@pytest.mark.slow
def test_the_command_trains_on_a_bucket(store: Faulty, tmp_path: Path) -> None:
    put(store, shards())
    sets: list[Any] = ["name=mobilenetv4_conv_small_035", "pretrained=false", "size=32", "epochs=1", "batch_size=4"]
    words = [word for each in [*sets, "check_teacher=false"] for word in ("--set", f"student.{each}")]
    command = warm.attar("distill", "--data", "s3://plants/shards/", "-o", tmp_path / "s", *words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert '"path": "s3://plants/shards/"' in (tmp_path / "s" / "bundle.json").read_text()
    assert "Copying 3 files" in done.stderr and "16 training and 8 validation photos" in done.stderr
