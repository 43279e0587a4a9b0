"""Latency of the exported LiteRT files on Android phones, all of them interleaved in one run.

The files take turns as on this machine (`attar.benchmarks.latency.measure`): in every round each file has one turn, in
an order shuffled anew, so that a phone that grows hot slows all of them alike. A turn is one start of
`benchmark_model`.

A file that the chosen accelerator does not take, or that does not run at all, is named and left out; its time on the
CPU would be sold as the accelerator's. A phone's records are written when it has been measured whole, or not at all.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import numpy as np

from attar.benchmarks.android.adb import DeviceError, Listed, Phone, choose, find_adb, settled, unready
from attar.benchmarks.android.agreement import agreement, read_golden
from attar.benchmarks.android.benchmark_model import DELEGATES, RUNS, Output, outside
from attar.benchmarks.android.folder import private_folder
from attar.benchmarks.android.properties import conditions, describe, fast_cores, pairs, pin_to, read_cores, throttled
from attar.benchmarks.android.runner import NotRunning, Runner
from attar.benchmarks.android.tool import Tool, find_tool
from attar.benchmarks.latency import record
from attar.benchmarks.latency.measure import MAX_SAMPLES, MIN_SAMPLES, check_unchanged, now, rounds
from attar.benchmarks.latency.record import Record
from attar.console import bar, say
from attar.errors import AttarError, InputError, did_you_mean

ACCELERATORS = tuple(DELEGATES)
"""What a phone can be asked to run a file on."""


@dataclass
class _Candidate:
    """A file of the manifest, where it is on the phone, and what its starts printed."""

    entry: Any
    graph: str
    starts: list[Output] = field(default_factory=list)
    profile: Output | None = None
    agreement: dict[str, Any] | None = None

    @property
    def samples(self) -> tuple[int, ...]:
        """Nanoseconds of every timed inference."""
        return tuple(1000 * value for start in self.starts for value in start.timed.inferences())

    def check(self, runner: Runner, images: Sequence[str], shape: Sequence[int], expected: np.ndarray) -> None:
        """Hold what the file answers to images against what is expected; tells of a file that decides otherwise."""
        about = f"{self.entry.file}: on {runner.phone.serial}"
        try:
            self.agreement = agreed = agreement(runner.answers(self.graph, images, shape), expected)
        except NotRunning as error:
            say(f"{about} its answers could not be checked: {error}")
            return
        if agreed is not None and agreed["top1"] < 1:
            same = round(agreed["top1"] * agreed["images"])
            say(
                f"{about} it decides as here for {same} of {agreed['images']} photos only (largest difference "
                f"{agreed['max_error']}). Its time there is that of another computation."
            )

    def turn(self, runner: Runner) -> None:
        """Start the program once more."""
        try:
            self.starts.append(runner.start(self.graph))
        except NotRunning as error:
            raise DeviceError(f"Phone {runner.phone.serial}: {self.entry.file} ran, then not: {error}") from error


def bench(
    exports: Path,
    *,
    device: str | None = None,
    accelerator: str = "cpu",
    tool: Path | None = None,
    threads: int = 1,
    seconds: float = 10.0,
    cool_down: float = 0.0,
    output: Path | None = None,
) -> list[Record]:
    """Measure every verified LiteRT file on Android phones that are connected by adb.

    Args:
        exports: folder with a manifest.json.
        device: serial number of the phone, or `all`; by default $ANDROID_SERIAL, or the only one that is connected.
        accelerator: one of `ACCELERATORS`.
        tool: the `benchmark_model` program for the phone; by default $ATTAR_BENCHMARK_MODEL.
        threads: threads on the CPU; they are kept on the fastest cores where the phone allows it.
        seconds: time for all files together on each phone; each gets at least `MIN_SAMPLES` inferences all the same.
        cool_down: seconds of rest after each round; they do not count as `seconds`.
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
    if cool_down < 0:
        raise InputError(f"cool-down {cool_down}: seconds of rest, at least 0.")
    if accelerator not in ACCELERATORS:
        near = did_you_mean(accelerator, ACCELERATORS)
        raise InputError(f"--accelerator {accelerator}: one of {', '.join(ACCELERATORS)}.{near}")
    entries = _entries(Path(exports))
    program, adb = find_tool(tool), find_adb()
    wanted = device or os.environ.get("ANDROID_SERIAL") or None
    folder = Path(output) if output else Path(exports).resolve().parent
    job = _Job(Path(exports), entries, program, accelerator, threads, seconds, cool_down)
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
    from attar.export.manifest import read_manifest

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
    cool_down: float

    def on(self, phone: Phone) -> list[Record]:
        """Measure all files on one phone, and leave nothing on it."""
        cores = read_cores(phone)
        about = describe(phone, cores)
        self.tool.check_runs_on(about["abi"], phone.serial)
        mask = pin_to(phone, fast_cores(cores, self.threads))
        about |= {"pinned": mask and f"0x{mask}"}
        with private_folder(phone) as folder:
            candidates = self._copy(phone, folder)
            runner = Runner(phone, folder, mask, self.accelerator, self.threads)
            running = [candidate for candidate in candidates if self._runs(runner, candidate)]
            if not running:
                raise DeviceError(f"Phone {phone.serial}: no file ran on its {self.accelerator}; why stands above.")
            self._check_answers(runner, running)
            before = conditions(phone)
            _sample(runner, running, self.seconds, self.cool_down)
            state = pairs(before, conditions(phone))
        if reason := throttled(state):
            say(f"Phone {phone.serial}: {reason} while it was measured. Let it cool down and measure again.")
        measured, run = now(), uuid.uuid4().hex
        return [self._record(candidate, about, state, measured, run) for candidate in running]

    def _copy(self, phone: Phone, folder: str) -> list[_Candidate]:
        """Copy the program and the files to the phone, under names that need no quoting."""
        with bar(f"Copying to {phone.serial}", 1 + len(self.entries)) as step:
            phone.push(self.tool.path, f"{folder}/benchmark_model")
            phone.check(f"chmod 700 {folder}/benchmark_model")
            step()
            candidates = []
            for number, entry in enumerate(self.entries):
                candidate = _Candidate(entry, f"{folder}/{number}.tflite")
                phone.push(self.exports / entry.file, candidate.graph)
                candidates.append(candidate)
                step()
        return candidates

    def _runs(self, runner: Runner, candidate: _Candidate) -> bool:
        """Find out whether a file runs on the accelerator, and where its time goes; says why where it does not."""
        delegate, _ = DELEGATES[self.accelerator]
        try:
            candidate.profile = runner.start(candidate.graph, profile=True)
            if self.accelerator == "cpu" or delegate in candidate.profile.delegated:
                return True
            reason = f"The {delegate} delegate takes no part of it: it would run on the CPU."
        except NotRunning as error:
            reason = str(error)
        say(f"{candidate.entry.file}: not measured on {runner.phone.serial}. {reason}")
        return False

    def _check_answers(self, runner: Runner, running: Sequence[_Candidate]) -> None:
        """Hold what the files answer on the phone against what they answered here."""
        golden = read_golden(self.exports)
        if golden is None:
            return
        images = [f"{runner.folder}/{number}.image" for number in range(len(golden.pixels))]
        with TemporaryDirectory() as here:
            for number, (image, pixels) in enumerate(zip(images, golden.pixels)):
                source = Path(here) / f"golden image {number}"
                source.write_bytes(pixels.tobytes())
                runner.phone.push(source, image)
        with bar(f"Checking answers of {runner.phone.serial}", len(running)) as step:
            for candidate in running:
                expected = golden.expected(candidate.entry)
                if expected is not None:
                    candidate.check(runner, images, (1, *golden.pixels.shape[1:]), expected)
                step()

    def _record(
        self, candidate: _Candidate, about: dict[str, Any], state: dict[str, Any], measured: str, run: str
    ) -> Record:
        entry, starts = candidate.entry, candidate.starts
        delegate, _ = DELEGATES[self.accelerator]
        memory = [start.memory for start in starts if start.memory is not None]
        profile = candidate.profile.operators if candidate.profile else ()
        return Record(
            target=str(entry.target),
            file=entry.file,
            sha256=entry.sha256,
            bytes=entry.bytes,
            runtime={
                "name": f"benchmark_model ({delegate})",
                "version": f"sha256 {self.tool.sha256[:12]}",
                "accelerator": self.accelerator,
                "sample": f"one inference; {RUNS} in each start of the program",
            },
            device=about,
            threads=self.threads,
            measured=measured,
            warmup=min(start.warmup.count for start in starts),
            samples=candidate.samples,
            load=tuple(int(1000 * start.init) for start in starts),
            first=tuple(int(1000 * start.first) for start in starts),
            peak_memory=int(median(memory)) if memory else None,
            partitions={
                "delegated": starts[0].delegated.get(delegate, 0),
                "outside": outside(profile) if profile else None,
            },
            operators=profile or None,
            agreement=candidate.agreement,
            conditions=state,
            run=run,
            block=RUNS,
        )


def _sample(runner: Runner, candidates: Sequence[_Candidate], seconds: float, cool_down: float) -> None:
    """Take turns until the time is over and every file has samples enough."""
    least = -(-MIN_SAMPLES // RUNS)
    end = perf_counter() + seconds
    with bar(f"Measuring on {runner.phone.serial}", least * len(candidates)) as step:
        for order in rounds(len(candidates)):
            for index in order:
                candidates[index].turn(runner)
                step()
            sleep(cool_down)
            end += cool_down
            count = len(candidates[0].starts)
            if count * RUNS >= MAX_SAMPLES or (count >= least and perf_counter() >= end):
                return
