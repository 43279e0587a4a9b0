"""Phones over the real adb program, against a stand-in that speaks its protocol and really runs the files.

No figure here is a phone's: what is timed runs on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from attar.benchmarks import android
from attar.benchmarks.android import benchmark_model, measure, runner
from attar.benchmarks.android.adb import DeviceError, DeviceLost, devices, find_adb
from attar.benchmarks.android.adb import Phone as Connected
from attar.benchmarks.android.folder import STALE, sweep
from attar.benchmarks.latency import record
from attar.benchmarks.latency.record import Record
from attar.errors import InputError
from attar.export.manifest import read_manifest, write_manifest
from helpers import warm
from helpers.standin.phone import Phone
from helpers.standin.plugged import adb_server, furnish, needs_adb, plugged, program, runs_programs, write_program

pytestmark = [needs_adb, runs_programs, pytest.mark.slow]
LEAST = 3


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with adb_server(tmp_path_factory.mktemp("home")) as adb:
        yield adb


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start of the program for each file is enough to see most things."""
    monkeypatch.setattr(measure, "MIN_SAMPLES", LEAST)


@pytest.fixture(scope="module")
def exports(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LiteRT files, and an ONNX file that no phone runs."""
    folder = shutil.copytree(small.exports, tmp_path_factory.mktemp("android") / "exports")
    manifest = read_manifest(folder)
    first = next(entry for entry in manifest.files if entry.target == "litert:fp32")
    shutil.copy(folder / first.file, folder / "litert-fp16.tflite")
    again = replace(first, file="litert-fp16.tflite", target="litert:fp16")
    write_manifest(replace(manifest, files=(again, *manifest.files)), folder)
    shutil.move(folder / "golden", folder.parent / "golden")  # for the tests that ask for it: it takes its time
    return folder


@pytest.fixture
def golden(exports: Path) -> Iterator[None]:
    """The photos of the exports, and what the files answer to them."""
    shutil.copytree(exports.parent / "golden", exports / "golden")
    yield
    shutil.rmtree(exports / "golden")


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Phone]:
    with plugged(tmp_path / "phone") as phone:
        yield phone


@pytest.fixture
def run(exports: Path, tmp_path: Path) -> Any:
    """Measure, for a short time, into a folder of the test's own."""

    def measure_them(**how: Any) -> list[Record]:
        tool = how.pop("tool", None) or program(tmp_path)
        return android.bench(exports, tool=tool, seconds=0.01, output=tmp_path, **how)

    return measure_them


def recorded(folder: Path) -> list[Record]:
    return record.read(folder)


def left_on(phone: Phone) -> list[str]:
    return [path.name for path in phone.temporary.iterdir()]


def when_running(act: Any, start: int = 1) -> Any:
    """A watch that calls `act` in the middle of the start number `start` that times a file."""
    seen: list[str] = []

    def watch(command: str, process: object) -> None:
        if "--num_runs=3 " in command:
            seen.append(command)
            if len(seen) == start:
                time.sleep(0.2)
                act()

    return watch


@pytest.mark.parametrize("features", ["shell_v2,cmd,stat_v2", "cmd"], ids=["today", "before Android 7"])
def test_files_are_measured_in_turns_and_nothing_stays(
    run: Any, tmp_path: Path, features: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "MIN_SAMPLES", 2 * LEAST)
    modes = []

    def watch(command: str, process: object) -> None:
        if "--graph" in command:
            modes.extend(path.stat().st_mode & 0o777 for path in phone.temporary.glob("attar-*"))

    with plugged(tmp_path / "phone", features=features, watch=watch) as phone:
        records = run()
        assert left_on(phone) == []
    assert recorded(tmp_path) == records and [r.target for r in records] == ["litert:fp16", "litert:fp32"]
    for r in records:
        assert len(r.samples) == 2 * LEAST and 1_000 < median(r.samples) < 10**9
        assert len(r.load) == len(r.first) == 2 and min(r.load) > 10_000 and r.warmup >= 2
        assert r.peak_memory and 0.1 * r.bytes < r.peak_memory < 500e6
        assert r.runtime["accelerator"] == "cpu" and "one inference" in r.runtime["sample"]
        assert r.partitions == {"delegated": 1, "outside": []}
        assert r.operators and [row["operator"] for row in r.operators] == ["TfLiteXNNPackDelegate"]
    assert set(modes) == {0o700}
    timed = [command for command in phone.commands if "--num_runs=3 " in command]
    starts = [command.partition("--graph=")[2].split()[0][-8:] for command in timed]
    assert sorted(starts[:2]) == sorted(starts[2:]) == ["0.tflite", "1.tflite"]
    assert "onnx-fp32.onnx: not measured" in capsys.readouterr().err


def test_a_record_says_what_phone_it_was_and_how_it_felt(run: Any, phone: Phone) -> None:
    r = run()[0]
    about = {name: r.device[name] for name in ("kind", "model", "soc", "os", "abi", "cores", "governor")}
    assert about == {
        "kind": "android",
        "model": "attar Stand-in",
        "soc": "no SoC",
        "os": "Android 14 (API 34)",
        "abi": ["x86_64", "x86"],
        "cores": 2,
        "governor": "schedutil",
    }
    assert phone.serial not in json.dumps(r.to_json())
    assert r.conditions["battery"] == [0.85, 0.85] and r.conditions["battery_celsius"] == [28.5, 28.5]
    assert r.conditions["thermal_status"] == [0, 0] and r.conditions["cpu_celsius"] == [41.25, 41.25]
    pinned = 1 in os.sched_getaffinity(0)  # the fast core of the stand-in is a core of this machine
    assert r.device["pinned"] == ("0x2" if pinned else None)
    assert any("taskset 2 ./benchmark_model" in command for command in phone.commands) == pinned


def test_a_phone_that_slows_itself_down_is_noticed(run: Any, phone: Phone, capsys: pytest.CaptureFixture[str]) -> None:
    limit = phone.folder / "sys/devices/system/cpu/cpu1/cpufreq/scaling_max_freq"
    phone.watch = when_running(lambda: limit.write_text("900000\n"))
    limits = run()[0].conditions["frequency_limits_khz"]
    assert limits == [[1_800_000, 2_300_000], [1_800_000, 900_000]]
    assert "lowered the frequency" in capsys.readouterr().err


def test_the_command_line(exports: Path, phone: Phone, tmp_path: Path) -> None:
    words = warm.attar("bench", exports, "--runtime", "android", "--json")
    words += ["--benchmark-model", str(program(tmp_path)), "--output", str(tmp_path), "--seconds", "0.1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)["records"]
    assert [r["device"]["kind"] for r in records] == ["android"] * 2
    assert len({r["run"] for r in records}) == 1 and all(r["block"] == benchmark_model.RUNS for r in records)
    assert min(len(r["samples"]) for r in records) >= 50
    assert len(recorded(tmp_path)) == 2 and left_on(phone) == []


def test_no_phone(run: Any, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="USB debugging"):
        run()
    with plugged(tmp_path / "phone"), pytest.raises(DeviceError, match="--device nosuch: no such phone"):
        run(device="nosuch")


def test_a_phone_that_does_not_trust_this_computer(run: Any, tmp_path: Path) -> None:
    with plugged(tmp_path / "phone", authorized=False) as phone:
        for how in ({}, {"device": phone.serial}, {"device": "all"}):
            with pytest.raises(DeviceError, match="trust this computer"):  # not yet, or still to be asked
                run(**how)
        assert phone.commands == []
    assert recorded(tmp_path) == []


def test_unplugged_in_mid_run_nothing_half_is_recorded(run: Any, phone: Phone, tmp_path: Path) -> None:
    phone.watch = when_running(phone.unplug, start=2)
    with pytest.raises(DeviceLost, match=r"connection was lost.*run the same command again"):
        run()
    assert recorded(tmp_path) == [] and len(left_on(phone)) == 1


def test_unplugged_while_files_are_copied(run: Any, phone: Phone, tmp_path: Path) -> None:
    def watch(command: str, process: object) -> None:
        if "chmod 700" in command:
            phone.unplug()

    phone.watch = watch
    with pytest.raises(DeviceLost, match="lost"):
        run()
    assert recorded(tmp_path) == []


def test_storage_full(run: Any, phone: Phone, tmp_path: Path, exports: Path) -> None:
    phone.space = (exports / "litert-fp16.tflite").stat().st_size + 10_000  # the second file does not fit
    with pytest.raises(
        DeviceError, match=r"storage is full while copying litert-fp32.tflite \(.* MB\).*Free some space"
    ):
        run()
    assert recorded(tmp_path) == [] and left_on(phone) == []


def test_benchmark_model_killed(run: Any, phone: Phone, tmp_path: Path) -> None:
    def kill() -> None:
        until(alive)  # until then the note is the earlier start's
        os.kill(noted(), signal.SIGKILL)

    def noted() -> int:
        (note,) = phone.temporary.glob("attar-*/pid")
        return int(note.read_text() or 0)

    def alive() -> bool:
        try:
            return bool(Path(f"/proc/{noted()}/cmdline").read_bytes())  # a process that has ended has none
        except (OSError, ValueError):
            return False

    phone.watch = when_running(kill, start=2)
    with pytest.raises(DeviceError, match=r"was killed, .*memory.*Nothing of this measurement"):
        run()
    assert recorded(tmp_path) == [] and left_on(phone) == []


def test_benchmark_model_that_hangs_is_ended(
    run: Any, phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_model, "PHASE_SECONDS", 1)
    monkeypatch.setattr(runner, "LOADING", 1)
    phone.environment["GPU"] = "hangs"
    with pytest.raises(DeviceError, match="no answer within 3 s"):
        run(accelerator="gpu")
    assert recorded(tmp_path) == [] and left_on(phone) == []
    until(lambda: all(process.poll() is not None for process in phone.processes))


def test_interrupted_by_the_user(exports: Path, phone: Phone, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "attar", "bench", str(exports), "--runtime", "android"]
    words += ["--benchmark-model", str(program(tmp_path)), "--output", str(tmp_path), "--seconds", "600"]
    running = threading.Event()
    phone.watch = when_running(running.set, start=2)
    # Whoever runs the tests in the background has them ignore it, and what they start too.
    heeds = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(words, start_new_session=True, preexec_fn=heeds)
    assert running.wait(600)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to attar and to the adb that it started
    assert process.wait(600) == 130
    assert recorded(tmp_path) == [] and left_on(phone) == []


def test_two_phones(run: Any, tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(plugged(tmp_path / name)) for name in ("one", "two"))
        with pytest.raises(DeviceError, match="2 phones are connected") as error:
            run()
        assert one.serial in str(error.value) and two.serial in str(error.value) and "--device all" in str(error.value)
        assert one.commands == two.commands == []
        chosen = run(device=two.serial)
        assert one.commands == [] and len({r.device["serial"] for r in chosen}) == 1
        both = run(device="all")
        assert len(both) == 4 and len({r.device["serial"] for r in both}) == 2
        assert recorded(tmp_path) == [*chosen, *both]


def test_a_phone_that_is_unplugged_does_not_lose_the_other(run: Any, tmp_path: Path) -> None:
    for broken in (0, 1):
        with ExitStack() as stack:
            phones = [stack.enter_context(plugged(tmp_path / f"{broken}{number}")) for number in range(2)]
            first = devices(find_adb())[0].serial
            phones.sort(key=lambda each: each.serial != first)  # adb's own order
            phones[broken].watch = when_running(phones[broken].unplug, start=2)
            with pytest.raises(DeviceLost, match="records of 1 of 2 phones are kept") as error:
                run(device="all")
            assert phones[broken].serial in str(error.value) and phones[1 - broken].serial not in str(error.value)
        assert len(recorded(tmp_path)) == 2 * (broken + 1)
    assert len({r.device["serial"] for r in recorded(tmp_path)}) == 2


def test_the_serial_of_the_environment(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with plugged(tmp_path / "one") as one, plugged(tmp_path / "two") as two:
        monkeypatch.setenv("ANDROID_SERIAL", two.serial)
        assert len(run()) == 2 and one.commands == []


def test_a_gpu_that_takes_the_files(run: Any, phone: Phone) -> None:
    phone.environment["GPU"] = "takes"
    records = run(accelerator="gpu")
    assert [r.runtime["name"] for r in records] == ["benchmark_model (GPU)"] * 2
    assert records[0].partitions and records[0].partitions["delegated"] == 2
    assert all("--use_gpu=true" in each for each in phone.commands if "--graph" in each)


def test_a_file_that_the_gpu_leaves_to_the_cpu_is_not_measured_as_the_gpus(
    run: Any, phone: Phone, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.environment["GPU"] = "1.tflite"
    assert [r.target for r in run(accelerator="gpu")] == ["litert:fp32"]
    assert "litert-fp16.tflite: not measured" in capsys.readouterr().err


def test_the_answers_of_a_phone_are_held_against_those_here(run: Any, phone: Phone, golden: None) -> None:
    for r in run():
        assert r.agreement == {"images": 6, "max_error": pytest.approx(0, abs=1e-6), "top1": 1.0}


def test_a_gpu_that_computes_something_else_is_noticed(
    run: Any, phone: Phone, golden: None, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.environment["GPU"] = "lies"
    agreement = run(accelerator="gpu")[0].agreement
    assert agreement["images"] == 6 and agreement["max_error"] > 0.3 and agreement["top1"] < 1
    assert "decides as here for" in capsys.readouterr().err


def test_a_program_that_does_not_do_as_it_is_told(run: Any, phone: Phone, tmp_path: Path) -> None:
    phone.environment["GPU"] = "stubborn"
    with pytest.raises(DeviceError, match=r"ran, then not: .*50 inferences where at most 3 were asked for"):
        run(accelerator="gpu")
    assert recorded(tmp_path) == []


def test_a_program_that_fails_when_asked_for_its_answers(
    run: Any, phone: Phone, golden: None, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.environment["GPU"] = "mute"
    assert [r.agreement for r in run(accelerator="gpu")] == [None, None]
    assert "answers could not be checked: cannot write" in " ".join(capsys.readouterr().err.split())  # it is wrapped


def test_a_program_that_cannot_be_asked_for_its_answers(run: Any, phone: Phone, golden: None) -> None:
    phone.environment["WITHOUT"] = "output_filepath"
    assert [r.agreement for r in run()] == [None, None]


@pytest.mark.parametrize(
    ("gpu", "reason"),
    [(None, "takes no part"), ("refuses", "Failed to apply GPU delegate"), ("crashes", "It crashed (SIGSEGV)")],
)
def test_a_phone_without_a_gpu_for_them(
    run: Any, phone: Phone, gpu: str | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.environment.update({"GPU": gpu} if gpu else {})
    with pytest.raises(DeviceError, match="no file ran on its gpu"):
        run(accelerator="gpu")
    said = " ".join(capsys.readouterr().err.split())  # it is wrapped
    assert reason in said and recorded(tmp_path) == [] and left_on(phone) == []


def test_a_program_without_the_accelerator(run: Any, phone: Phone, tmp_path: Path) -> None:
    phone.environment["WITHOUT"] = "use_nnapi"
    with pytest.raises(DeviceError, match="cannot use nnapi: it has no --use_nnapi"):
        run(accelerator="nnapi")
    assert left_on(phone) == []


def test_a_program_for_another_processor_is_not_copied(run: Any, phone: Phone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"built for arm64-v8a, and phone .* runs x86_64"):
        run(tool=program(tmp_path, machine=183))
    assert not any("mkdir" in command for command in phone.commands)


def test_a_program_that_does_not_start(run: Any, tmp_path: Path) -> None:
    furnish(tmp_path / "phone", properties="[ro.product.cpu.abilist]: [arm64-v8a]\n")
    with plugged(tmp_path / "phone") as phone, pytest.raises(DeviceError, match="does not start"):
        run(tool=program(tmp_path, machine=183))  # this machine cannot run it, as a phone cannot run one for Linux
    assert left_on(phone) == []


def test_a_copy_that_arrives_damaged(run: Any, phone: Phone) -> None:
    write_program(phone.folder / "system/bin/sha256sum", 'echo "0000  $1"')
    with pytest.raises(DeviceError, match=r"benchmark_model arrived damaged"):
        run()
    assert left_on(phone) == []


def test_a_phone_without_sha256sum(run: Any, phone: Phone) -> None:
    write_program(phone.folder / "system/bin/sha256sum", "exit 127")
    assert len(run()) == 2 and any("wc -c" in command for command in phone.commands)


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(phone: Phone) -> None:
    old = time.time() - 60 * (STALE + 5)
    names = ["attar-" + "a" * 16, "attar-" + "b" * 16, "attar-" + "c" * 16, "attar-mine", "other"]
    for name in names:
        folder = phone.temporary / name
        folder.mkdir()
        if name != names[1]:  # one that only looks like ours
            (folder / ".attar").touch()
        if name != names[2]:  # one that is in use
            os.utime(folder, (old, old))
    sweep(Connected(find_adb(), phone.serial))
    assert sorted(left_on(phone)) == sorted(names[1:])


def until(true: Any, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.05)
