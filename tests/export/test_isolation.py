"""A target that crashes, hangs or eats all memory fails alone, and no process outlives the export."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attar.errors import GateError
from attar.export import supervisor_process
from attar.export.export import _prepare, export_student
from attar.export.formats import FORMATS
from attar.export.limits import Limits, Resolved
from attar.export.manifest import read_manifest
from attar.export.supervisor_process import resident
from attar.export.targets import Target
from attar.export.worker import Job
from attar.files import sha256
from helpers import misbehaving
from helpers.small import DROP

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def registered(monkeypatch) -> None:
    monkeypatch.setitem(FORMATS, "bad", misbehaving.FORMAT)


def fails(bundle, photos, folder: Path, targets: list[str], **limits) -> str:
    with pytest.raises(GateError) as caught:
        export_student(bundle, targets, folder, photos=photos, max_drop=DROP, limits=Limits(**limits))
    return str(caught.value)


@pytest.mark.slow
def test_each_crash_fails_its_target_alone(bundle, photos, tmp_path):
    folder = tmp_path / "exports"
    text = fails(bundle, photos, folder, ["bad:abort", "bad:fp16", "bad:exit", "onnx:fp32"])
    manifest = read_manifest(folder)
    assert [entry.target for entry in manifest.files] == ["onnx:fp32"]
    errors = {entry.target: entry.error for entry in manifest.failed}
    assert set(errors) == {"bad:abort", "bad:fp16", "bad:exit"} and all(target in text for target in errors)
    assert "SIGABRT" in errors["bad:abort"] and "about to abort" in errors["bad:abort"]
    assert "misbehaving.py" in errors["bad:abort"], "the stack at the crash"
    assert "exit code 3" in errors["bad:exit"] and "diverges" in errors["bad:fp16"]
    stands = {path.name for path in folder.iterdir()}
    assert stands == {"manifest.json", "onnx-fp32.onnx", *read_manifest(folder).guide}


@pytest.mark.slow
@pytest.mark.usefixtures("cold")
def test_past_its_time_or_memory_a_target_is_ended(bundle, photos, tmp_path):
    for seconds in (8, 32, 128, 512):  # a busy machine may need longer until the converter begins
        text = fails(bundle, photos, tmp_path / f"a{seconds}", ["bad:sleep"], seconds=seconds)
        assert "bad:sleep" in text and f"longer than {seconds} s" in text
        if "about to sleep" in text:
            break
    assert "about to sleep" in text
    text = fails(bundle, photos, tmp_path / "b", ["bad:allocate"], memory=2 * 10**9)
    assert "bad:allocate" in text and "more than 2.0 GB of memory" in text and "--memory-limit" in text


def test_memory_of_a_group_counts_children():
    code = "import subprocess, sys; held = b'x' * 50_000_000; print(flush=True); {}"
    inner = "import time; held = b'x' * 100_000_000; print(flush=True); time.sleep(60)"
    script = code.format(f"subprocess.run([sys.executable, '-c', {inner!r}])")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout
        process.stdout.readline()
        process.stdout.readline()
        assert 150e6 < resident(process.pid) < 300e6
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_a_process_that_ends_while_memory_is_measured_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading of it fails with ESRCH where it was there a moment before, which `Path.glob` does not expect."""
    group = os.getpgid(0)
    ended = Path("/proc/1/stat")

    def without(real: Callable[..., Any]) -> Callable[..., Any]:
        def read(path: Path, *words: Any, **more: Any) -> Any:
            if path == ended:
                raise ProcessLookupError
            return real(path, *words, **more)

        return read

    for name in ("read_text", "stat"):
        monkeypatch.setattr(Path, name, without(getattr(Path, name)))
    assert resident(group) > 0


EXPORTER = """
import signal, sys
from helpers import misbehaving
from attar.data.photos import DataSpec, read_photos
from attar.export.export import export_student
from attar.export.formats import FORMATS
FORMATS["bad"] = misbehaving.FORMAT
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore Ctrl-C
bundle, data, output = sys.argv[1:]
export_student(bundle, ["bad:sleep"], output, photos=read_photos(DataSpec(data)))
"""


def descendants(pid: int) -> set[int]:
    parents = {}
    for process in Path("/proc").iterdir():
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it ended meanwhile, or is no process
            pass
    pids, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        pids |= new
    return pids


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(happens, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happens()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("victim", ["exporter", "exporter, politely", "supervisor"])
def test_no_process_outlives_the_export(bundle, shapes, tmp_path, victim):
    """The exporter has three below it: the supervisor, the target's process, and what its converter started."""
    folder, scratch = tmp_path / "exports", tmp_path / "tmp"
    scratch.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TMPDIR": str(scratch)}
    command = [sys.executable, "-c", EXPORTER, str(bundle.path), str(shapes), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    everyone = lambda: len(descendants(process.pid)) == 3 or process.poll() is not None  # noqa: E731
    assert until(everyone, 600) and process.poll() is None
    started = descendants(process.pid)
    if victim == "supervisor":
        [started_it] = [pid for pid in started if f" {process.pid} " in Path(f"/proc/{pid}/stat").read_text()]
        os.kill(started_it, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if victim == "exporter" else signal.SIGINT)
    _, err = process.communicate(timeout=300)
    left_alone = 1 if victim == "supervisor" else 0  # what a converter started itself, then, nobody can end
    assert until(lambda: sum(map(lives, started)) <= left_alone, 300)
    for pid in filter(lives, started):
        os.kill(pid, signal.SIGKILL)
    assert process.returncode == (-signal.SIGKILL if victim == "exporter" else 1)
    if victim == "exporter, politely":
        assert "KeyboardInterrupt" in err
    if victim == "supervisor":
        assert "bad:sleep" in err and "ended too early" in err
    if victim != "exporter":
        assert not list(scratch.iterdir())
        assert [path.name for path in folder.iterdir()] == ["manifest.json"] if folder.exists() else True


@pytest.mark.slow
def test_what_a_killed_export_left_is_tidied_away(bundle, photos, tmp_path):
    folder = tmp_path / "exports"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (folder / f".tmp-{dead.pid}-scratch").mkdir(parents=True)
    (folder / f".tmp-{dead.pid}-scratch" / "onnx-fp32.onnx").write_text("half")
    export_student(bundle, ["onnx:fp32"], folder, photos=photos, max_drop=DROP)
    stands = {path.name for path in folder.iterdir()}
    assert stands == {"manifest.json", "onnx-fp32.onnx", *read_manifest(folder).guide}


@pytest.mark.slow
def test_where_forking_is_not_safe_processes_start_afresh(bundle, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_process, "FORKS", False)
    _prepare(tmp_path, bundle, photos, None, 1000)
    targets = (Target("bad", "fp32"), Target("bad", "exit"))
    job = Job(bundle, targets, dict(FORMATS), tmp_path, tmp_path, DROP)
    leash, held = os.pipe()
    events: list[dict] = []
    supervisor_process.supervise(job, Resolved(300, 8 * 10**9, 2), events.append, leash)
    os.close(leash), os.close(held)
    assert [event["target"] for event in events[:2]] == ["bad:fp32", "bad:exit"]
    ended = {event["target"]: event for event in events[2:]}
    assert ended["bad:fp32"]["entry"]["sha256"] == sha256(tmp_path / "bad-fp32.onnx")
    assert "exit code 3" in ended["bad:exit"]["error"]
