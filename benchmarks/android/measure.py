"""Latency of the exported LiteRT files on Android phones, all of them interleaved in one run.

The files take turns as on this machine (`benchmarks.latency`): in every round each file has one turn, in an order
shuffled anew, so that a phone that grows hot slows all of them alike. A turn is one start of `benchmark_model`.

A file that the chosen accelerator does not take, or that does not run at all, is named and left out; its time on the
CPU would be sold as the accelerator's. A phone's records are written when it has been measured whole, or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from attar.console import bar, say
from attar.errors import AttarError, InputError, did_you_mean
from benchmarks import record
from benchmarks.android import benchmark_model
from benchmarks.android.adb import DeviceError, Listed, Phone, choose, find_adb, settled, unready
from benchmarks.android.benchmark_model import DELEGATES, RUNS, Output, Unreadable
from benchmarks.android.device import conditions, describe, fast_cores, pairs, pin_to, read_cores, throttled
from benchmarks.android.folder import private_folder, tracked
from benchmarks.android.tool import Tool, find_tool
from benchmarks.latency import MAX_SAMPLES, MIN_SAMPLES, check_unchanged, rounds
from benchmarks.record import Record

ACCELERATORS = tuple(DELEGATES)
"""What a phone can be asked to run a file on."""

_LOADING = 60
"""Seconds that a start may take beside its two phases; a GPU compiles its kernels then."""
_SIGNALS = {132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 139: "SIGSEGV"}
_KILLED = (130, 137, 143)


@dataclass
class _Candidate:
    """A file of the manifest, where it is on the phone, and what its starts printed."""

    entry: Any
    path: Path
    graph: str
    starts: list[Output] = field(default_factory=list)
    profile: Output | None = None

    @property
    def samples(self) -> tuple[int, ...]:
        """Nanoseconds of every timed inference."""
        return tuple(1000 * value for start in self.starts for value in start.timed.inferences())


def bench(
    exports: Path, *, device: str | None = None, accelerator: str = "cpu", tool: Path | None = None, threads: int = 1,
    seconds: float = 10.0, output: Path | None = None,
) -> list[Record]:  # fmt: skip
    """Measure every verified LiteRT file on Android phones that are connected by adb.

    Args:
        exports: folder with a manifest.json.
        device: serial number of the phone, or `all`; by default $ANDROID_SERIAL, or the only one that is connected.
        accelerator: one of `ACCELERATORS`.
        tool: the `benchmark_model` program for the phone; by default $ATTAR_BENCHMARK_MODEL.
        threads: threads on the CPU; they are kept on the fastest cores where the phone allows it.
        seconds: time for all files together on each phone; each gets at least `MIN_SAMPLES` inferences all the same.
        output: folder whose benchmarks.jsonl the records are added to; by default the one around `exports`.

    Returns:
        One record for each phone and file, in that order.

    Raises:
        InputError: no manifest, no LiteRT file, or one that changed since it was verified; no adb, no phone, no tool,
            or one that does not fit the phone; a phone that is not ready, is full, or was lost. With several phones
            the others' records are written before it is raised.
    """
    if threads < 1 or not seconds > 0:
        raise InputError(f"threads {threads}, seconds {seconds}: both must be positive.")
    if accelerator not in ACCELERATORS:
        near = did_you_mean(accelerator, ACCELERATORS)
        raise InputError(f"--accelerator {accelerator}: one of {', '.join(ACCELERATORS)}.{near}")
    entries = _entries(Path(exports))
    program, adb = find_tool(tool), find_adb()
    wanted = device or os.environ.get("ANDROID_SERIAL") or None
    folder = Path(output) if output else Path(exports).resolve().parent
    job = _Job(Path(exports), entries, program, accelerator, threads, seconds)
    records: list[Record] = []
    failures: list[AttarError] = []
    phones = choose(settled(adb), wanted)
    for listed in phones:
        try:
            measured = job.on(_ready(adb, listed))
            record.append(measured, folder)
            records += measured
        except AttarError as error:
            failures.append(error)
    if failures:
        kept = f" The records of {len(phones) - len(failures)} of {len(phones)} phones are kept." if records else ""
        raise type(failures[0])(" ".join(map(str, failures)) + kept)
    return records


def _entries(exports: Path) -> list[Any]:
    from export import read_manifest

    entries = []
    for entry in read_manifest(exports).files:
        if str(entry.target).partition(":")[0] != "litert":
            say(f"{entry.file}: not measured. benchmark_model runs LiteRT files only.")
            continue
        check_unchanged(exports, entry)
        entries.append(entry)
    if not entries:
        raise InputError(f"{exports}: no verified LiteRT file. Export one, such as: attar export BUNDLE -t litert:int8")
    return entries


def _ready(adb: str, listed: Listed) -> Phone:
    if listed.state != "device":
        raise unready(listed)
    return Phone(adb, listed.serial)


@dataclass(frozen=True)
class _Job:
    """What is to be measured, the same on every phone."""

    exports: Path
    entries: Sequence[Any]
    tool: Tool
    accelerator: str
    threads: int
    seconds: float

    def on(self, phone: Phone) -> list[Record]:
        """Measure all files on one phone, and leave nothing on it."""
        cores = read_cores(phone)
        about = describe(phone, cores)
        self.tool.check_runs_on(about["abi"], phone.serial)
        mask = pin_to(phone, fast_cores(cores, self.threads))
        about |= {"pinned": mask and f"0x{mask}"}
        with private_folder(phone) as folder:
            candidates = self._copy(phone, folder)
            runner = _Runner(phone, folder, mask, self.accelerator, self.threads)
            running = [candidate for candidate in candidates if runner.profile(candidate)]
            if not running:
                raise DeviceError(
                    f"Phone {phone.serial}: no file ran on its {self.accelerator}, for the reasons above."
                )
            before = conditions(phone)
            _sample(runner, running, self.seconds)
            told = pairs(before, conditions(phone))
        if reason := throttled(told):
            say(f"Phone {phone.serial}: {reason} while it was measured. Let it cool down and measure again.")
        measured = datetime.now(UTC).isoformat(timespec="seconds")
        return [self._record(candidate, about, told, measured) for candidate in running]

    def _copy(self, phone: Phone, folder: str) -> list[_Candidate]:
        """Copy the program and the files to the phone, under names that need no quoting."""
        with bar(f"Copying to {phone.serial}", 1 + len(self.entries)) as step:
            phone.push(self.tool.path, f"{folder}/benchmark_model")
            phone.check(f"chmod 700 {folder}/benchmark_model")
            step()
            candidates = []
            for number, entry in enumerate(self.entries):
                candidate = _Candidate(entry, self.exports / entry.file, f"{folder}/{number}.tflite")
                phone.push(candidate.path, candidate.graph)
                candidates.append(candidate)
                step()
        return candidates

    def _record(self, candidate: _Candidate, about: dict[str, Any], told: dict[str, Any], measured: str) -> Record:
        entry, starts = candidate.entry, candidate.starts
        delegate, _ = DELEGATES[self.accelerator]
        memory = [start.memory for start in starts if start.memory is not None]
        profile = candidate.profile.operators if candidate.profile else ()
        return Record(
            target=str(entry.target), file=entry.file, sha256=entry.sha256, bytes=entry.bytes,
            runtime={
                "name": f"benchmark_model ({delegate})", "version": f"sha256 {self.tool.sha256[:12]}",
                "accelerator": self.accelerator, "sample": f"one inference; {RUNS} in each start of the program",
            },
            device=about, threads=self.threads, measured=measured,
            warmup=min(start.warmup.count for start in starts), samples=candidate.samples,
            load=tuple(int(1000 * start.init) for start in starts),
            first=tuple(int(1000 * start.first) for start in starts),
            peak_memory=int(median(memory)) if memory else None,
            partitions={
                "delegated": starts[0].delegated.get(delegate, 0),
                "outside": benchmark_model.outside(profile) if profile else None,
            },
            operators=profile or None, conditions=told,
        )  # fmt: skip


class _Runner:
    """Starts `benchmark_model` on one phone."""

    def __init__(self, phone: Phone, folder: str, mask: str | None, accelerator: str, threads: int) -> None:
        self.phone, self._folder, self._accelerator, self._threads = phone, folder, accelerator, threads
        self._pin = f"taskset {mask} " if mask else ""
        told = phone.run(tracked(folder, "./benchmark_model --help"))
        self._known = benchmark_model.known_flags(told.output)
        if not self._known:
            raise DeviceError(
                f"Phone {phone.serial}: benchmark_model does not start on it: {benchmark_model.failure(told.output)}. "
                "Is it built for Android, and not for Linux?"
            )

    def profile(self, candidate: _Candidate) -> bool:
        """Find out whether a file runs on the accelerator, and where its time goes; says why where it does not."""
        delegate, _ = DELEGATES[self._accelerator]
        try:
            candidate.profile = self._start(candidate, profile=True)
        except _NotRunning as error:
            say(f"{candidate.entry.file}: not measured on {self.phone.serial}. {error}")
            return False
        if self._accelerator != "cpu" and delegate not in candidate.profile.delegated:
            say(
                f"{candidate.entry.file}: not measured on {self.phone.serial}. The {delegate} delegate takes no part "
                "of it: it would run on the CPU."
            )
            return False
        return True

    def turn(self, candidate: _Candidate) -> None:
        """Start the program once for a file that is known to run."""
        try:
            candidate.starts.append(self._start(candidate))
        except _NotRunning as error:
            raise DeviceError(f"Phone {self.phone.serial}: {candidate.entry.file} ran, then not: {error}") from error

    def _start(self, candidate: _Candidate, profile: bool = False) -> Output:
        try:
            words = benchmark_model.command(
                "./benchmark_model", candidate.graph, self._accelerator, self._threads, self._known, profile=profile
            )
        except Unreadable as error:
            raise DeviceError(f"benchmark_model cannot use {self._accelerator}: {error}. Get another build.") from error
        limit = 2 * benchmark_model.PHASE_SECONDS + _LOADING
        done = self.phone.run(tracked(self._folder, self._pin + " ".join(words)), limit)
        if done.code in _KILLED:
            raise DeviceError(
                f"Phone {self.phone.serial}: benchmark_model was killed while it ran {candidate.entry.file}, most "
                "likely for want of memory. Close other apps or restart the phone, and run the command again. Nothing "
                "of this measurement was recorded."
            )
        if done.code != 0:
            signal = f"It crashed ({_SIGNALS[done.code]}): " if done.code in _SIGNALS else ""
            raise _NotRunning(f"{signal}{_plain(benchmark_model.failure(done.output))}")
        try:
            return benchmark_model.parse(done.output)
        except Unreadable as error:
            raise _NotRunning(f"benchmark_model's output is not understood ({error}).") from error


class _NotRunning(Exception):
    """A file that does not run on a phone, and why."""


def _sample(runner: _Runner, candidates: Sequence[_Candidate], seconds: float) -> None:
    """Take turns until the time is over and every file has samples enough."""
    least = -(-MIN_SAMPLES // RUNS)
    end = perf_counter() + seconds
    with bar(f"Measuring on {runner.phone.serial}", least * len(candidates)) as step:
        for order in rounds(len(candidates)):
            for index in order:
                runner.turn(candidates[index])
                step()
            count = len(candidates[0].starts)
            if count * RUNS >= MAX_SAMPLES or (count >= least and perf_counter() >= end):
                return


def _plain(text: str) -> str:
    """One line of a phone's words, without control characters."""
    return re.sub(r"[^\x20-\x7e]+", " ", text).strip()
