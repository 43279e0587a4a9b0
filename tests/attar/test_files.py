"""A reader sees the old file or the new one, whatever happens to the writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attar.errors import InputError
from attar.files import (
    digest_of,
    digest_of_each,
    read_json,
    replacing,
    save_array,
    sha256,
    size,
    write_json,
    write_text,
)
from helpers.unprivileged import without_root


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_and_a_folder_are_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "one")
    write_text(tmp_path / "deep" / "a.txt", "two")
    assert (tmp_path / "deep" / "a.txt").read_text() == "two"
    for content in ("one", "two"):
        with replacing(tmp_path / "folder") as folder:
            folder.mkdir()
            (folder / content).write_text(content)
    assert names(tmp_path / "folder") == ["two"]
    assert names(tmp_path) == ["deep", "folder"] and names(tmp_path / "deep") == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1), InputError("x")])
def test_an_error_leaves_what_stood_there(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(type(error)), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EACCES, "permission"), (errno.EROFS, "read-only")],
)
def test_what_the_disk_refuses_is_explained(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(InputError, match=remedy) as caught, replacing(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise OSError(number, os.strerror(number))
    assert "a.bin" in str(caught.value) and names(tmp_path) == []


def test_a_full_disk_in_other_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="disk is full"), replacing(tmp_path / "a.bin"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="shapes differ"), replacing(tmp_path / "a.bin"):
        raise RuntimeError("shapes differ")


FULL_DISK = """
import sys, subprocess, numpy, torch
from pathlib import Path
from safetensors.torch import save_file
from attar.errors import InputError
from attar.files import replacing, save_array
disk = Path(sys.argv[1])
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], stderr=subprocess.DEVNULL).returncode:
    sys.exit(77)
big = {"weight": torch.zeros(1 << 18)}
writers = [lambda p: p.write_bytes(bytes(1 << 20)), lambda p: torch.save(big, p), lambda p: save_file(big, p)]
writers.append(lambda p: save_array(p, numpy.zeros(1 << 17)))
for number, write in enumerate(writers):
    (disk / "old.pt").write_text("old")
    try:
        with replacing(disk / "old.pt") as temporary:
            write(temporary)
        sys.exit(f"writer {number} fitted")
    except InputError as error:
        assert "disk is full" in str(error), error
    assert [p.name for p in disk.iterdir()] == ["old.pt"] and (disk / "old.pt").read_text() == "old", number
"""


def test_a_disk_that_really_is_full(tmp_path: Path) -> None:
    """Python, torch, safetensors and NumPy each write a megabyte to a disk of 256 kB."""
    try:
        command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", FULL_DISK, str(tmp_path)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
        )
    except FileNotFoundError:
        pytest.skip("no unshare command here")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("a small disk cannot be mounted here")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
        np.zeros((0, 4)),
        np.array(7, np.int64),
        np.arange(1 << 20)[::3],
    ],
)
def test_an_array_is_written_as_numpy_writes_it(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "numpy.npy", array)
    save_array(tmp_path / "ours.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from attar.errors import InputError
from attar.files import save_array, write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
writers = {"bytes": lambda p: write_bytes(p, bytes(5000)), "array": lambda p: save_array(p, np.zeros(5000))}
try:
    writers[sys.argv[2]](Path(sys.argv[1]))
except InputError as error:
    sys.exit(0 if "file size limit" in str(error) else str(error))
sys.exit("no error")
"""


@pytest.mark.parametrize("writer", ["bytes", "array"])
def test_the_file_size_limit_is_explained(tmp_path: Path, writer: str) -> None:
    words = [sys.executable, "-c", LIMITED, str(tmp_path / "a"), writer]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == []


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="stands where a folder"):
        write_text(tmp_path / "taken" / "a.txt", "x")


def test_a_read_only_folder() -> None:
    with without_root() as folder:
        write_text(folder / "a.txt", "x")
        folder.chmod(0o500)
        with pytest.raises(InputError, match="permission"):
            write_text(folder / "b.txt", "x")
        assert names(folder) == ["a.txt"]


KILLED = """
import os, signal, sys
from pathlib import Path
from attar import files
path, when = Path(sys.argv[1]), sys.argv[2]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if when == "flushing":
    files._flush = die
if when == "between":
    rename, count = Path.rename, []
    def second(self, target):
        count.append(1)
        return die() if len(count) == 2 else rename(self, target)
    Path.rename = second
with files.replacing(path) as folder:
    folder.mkdir()
    (folder / "new").write_text("half")
    if when == "writing":
        die()
    (folder / "new").write_text("whole")
"""


@pytest.mark.parametrize("when", ["writing", "flushing", "between"])
def test_killed_at_any_moment_nothing_is_half_written(tmp_path: Path, when: str) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), when])
    assert done.returncode == -signal.SIGKILL
    assert any(name.startswith(".tmp-") for name in names(tmp_path))
    if when != "between":  # a folder takes two renames
        assert names(path) == ["old"]
    # The next writer fails: it has tidied up, and the old folder stands.
    with pytest.raises(ValueError), replacing(path):
        raise ValueError
    assert names(tmp_path) == ["folder"] and names(path) == ["old"]
    with replacing(path) as folder:
        folder.mkdir()
        (folder / "new").write_text("whole")
    assert names(tmp_path) == ["folder"] and names(path) == ["new"]


def test_a_second_writer_does_not_touch_the_first(tmp_path: Path) -> None:
    other = (
        "from pathlib import Path; from attar.files import write_text; import sys; write_text(Path(sys.argv[1]), 'b')"
    )
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
        subprocess.run([sys.executable, "-c", other, str(tmp_path / "a.txt")], check=True)
        assert (tmp_path / "a.txt").read_text() == "b" and temporary.read_text() == "a"
    assert (tmp_path / "a.txt").read_text() == "a" and names(tmp_path) == ["a.txt"]


def test_hashes_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "f" / "sub").mkdir(parents=True)
    (tmp_path / "f" / "a").write_bytes(b"abc")
    (tmp_path / "f" / "sub" / "b").write_bytes(b"de")
    assert sha256(tmp_path / "f" / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert size(tmp_path / "f") == 5
    before = sha256(tmp_path / "f")
    (tmp_path / "f" / "a").rename(tmp_path / "f" / "c")
    renamed = sha256(tmp_path / "f")
    (tmp_path / "f" / "c").write_bytes(b"abd")
    assert len({before, renamed, sha256(tmp_path / "f")}) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=JSON)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    assert digest_of(read_json(path)) == digest_of(value)


@given(values=st.lists(JSON | st.tuples(st.text(), st.integers()), max_size=4))
def test_a_digest_of_each_value_in_turn_is_that_of_their_list(values: list[object]) -> None:
    assert digest_of_each(iter(values)) == digest_of(values)


def test_json_keeps_file_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "a.json", {name: 1})
    assert read_json(tmp_path / "a.json") == {name: 1}
    assert len(digest_of(name)) == 64


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json.*not readable as JSON"):
        read_json(tmp_path / "a.json")


def test_missing_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "a.json")
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path, tmp_path / "fifo"):  # the second would be waited for
        with pytest.raises(InputError, match="is no file"):
            read_json(place)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": NaN}', "[-Infinity]", '{"b": {"a": 1, "a": 1}}'])
def test_json_that_attar_never_writes(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json.*not readable as JSON"):
        read_json(tmp_path / "a.json")


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": float(torch.tensor(float("nan")))})
    assert names(tmp_path) == []
