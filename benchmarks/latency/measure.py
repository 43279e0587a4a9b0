"""Latency of the exported files on this machine, all of them interleaved in one run.

A machine's speed drifts: other programs start, the CPU warms up and slows down. Files measured one
after another would each meet a different machine, so here they take turns in short blocks, in an
order shuffled anew each round by a fixed seed, and every slow second is shared by all.

A block starts with one untimed inference, because the file before it has left its own weights in the
CPU's caches; an app that classifies with one model does not meet that.

What the samples are worth is said by `attar.benchmarks.latency.intervals`, and whether to trust them by
`attar.benchmarks.latency.stability`.
"""

from __future__ import annotations

import gc
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from attar.benchmarks.latency import record
from attar.benchmarks.latency.host import describe, load_average
from attar.benchmarks.latency.op_profile import NotProfiled, Profile, profile_of
from attar.benchmarks.latency.record import Record
from attar.benchmarks.latency.roofline import floor_of
from attar.benchmarks.latency.warmup import WarmUp, warm_up
from attar.benchmarks.runtimes import RUNTIMES, Planner, Session, chosen, others, runtime_for, some_image
from attar.children import environment, module_command
from attar.console import bar, say
from attar.errors import InputError, did_you_mean
from attar.export.formats import FORMATS
from attar.files import sha256

BLOCK = 5
"""Timed inferences of one file before the next file's turn."""
MIN_SAMPLES = 100
"""Samples of each file, even where the time is over before: twenty rounds, below which intervals are wide."""
MAX_SAMPLES = 2_000
"""Samples of each file after which more tell nothing new about p99."""
PROBES = 3
"""Fresh processes that load each file and run it for the first time."""
SEED = 0
"""Decides the order of files in each round."""


@dataclass(frozen=True)
class _Candidate:
    """A file that a runtime here can time, with its entry in the manifest or an earlier record."""

    entry: Any
    path: Path
    runtime: str


def bench(
    exports: Path | str,
    *,
    threads: int = 1,
    seconds: float = 10.0,
    cool_down: float = 0.0,
    output: Path | str | None = None,
    runtime: str | None = None,
    beside: Sequence[tuple[Record, Path]] = (),
    quick: bool = False,
) -> list[Record]:
    """Measure every verified file that a runtime on this machine can run.

    Args:
        exports: folder with a manifest.json.
        threads: threads of each runtime.
        seconds: time for all files together, after warm-up; each gets at least `MIN_SAMPLES` all the same.
        cool_down: seconds of rest after each round, for a device that throttles; they do not count as `seconds`.
        output: folder whose benchmarks.jsonl the records are added to; by default the one around `exports`.
        runtime: one of `attar.benchmarks.runtimes.others()`, to run the files of its format in; others are left out. By
            default each format has its own, and on a Mac Core ML files run on each of the compute units.
        beside: other files that take turns with these, each with an earlier record of it; their new records have
            samples only, and are returned and written nowhere.
        quick: load each file in one fresh process instead of three, and do not profile it.

    Returns:
        One record a file and runtime, in the manifest's order, and then those of `beside`. Elsewhere than on a Mac Core
        ML files have none.

    Raises:
        InputError: no manifest, no file that runs here, a file that changed since it was verified, or a
            runtime that is not installed.
    """
    if threads < 1 or not seconds > 0:
        raise InputError(f"threads {threads}, seconds {seconds}: both must be positive.")
    if cool_down < 0:
        raise InputError(f"cool-down {cool_down}: seconds of rest, at least 0.")
    own = _candidates(Path(exports), runtime)
    names = {runtime_for(each.runtime).NAME: each.runtime for each in own}
    candidates = [*own, *(_Candidate(earlier, path, names[earlier.runtime["name"]]) for earlier, path in beside)]
    device = {**describe(), "load_average": [load_average()]}
    loads = 1 if quick else PROBES
    say(_announced(len(own), loads, seconds, quick))
    with bar("Loading in fresh processes", loads * len(own)) as step:
        cold_starts = [_cold_starts(candidate, threads, step, loads) for candidate in own] + [[]] * len(beside)
    measured = measure([(each.runtime, each.path) for each in candidates], threads, seconds, cool_down)
    device["load_average"].append(load_average())
    with bar("Profiling", len(own)) as step:
        profiles = [None if quick else _profile(candidate, threads, step) for candidate in own] + [None] * len(beside)
    about = {"device": device, "threads": threads, "measured": now(), "run": uuid.uuid4().hex, "block": BLOCK}
    records = [
        _record(candidate, warmup, taken, probe, profile, measured.waited, about)
        for candidate, warmup, taken, probe, profile in zip(
            candidates, measured.warmups, measured.samples, cold_starts, profiles
        )
    ]
    record.append(records[: len(own)], Path(output) if output else Path(exports).resolve().parent)
    return records


def now() -> str:
    """The time, as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def rounds(files: int, seed: int = SEED) -> Iterator[list[int]]:
    """Endless rounds, each a fresh shuffle of the file numbers: every file has one turn in each."""
    rng = np.random.default_rng(seed)
    while True:
        yield rng.permutation(files).tolist()


def sample_interleaved(
    sessions: Sequence[Session],
    seconds: float,
    clock: Callable[[], int] = time.perf_counter_ns,
    least: int = MIN_SAMPLES,
    between: Callable[[], float] = lambda: 0.0,
) -> list[list[int]]:
    """Nanoseconds of every timed inference by `clock`, a list for each session, all of the same length.

    At least `least` of each are taken, even where the time, by the same clock, is over before. `between` is called
    after each round; the seconds that it says it took do not count.
    """
    samples: list[list[int]] = [[] for _ in sessions]
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of an inference would be counted as the model's time
    try:
        end = clock() + 1e9 * seconds
        for order in rounds(len(sessions)):
            for index in order:
                _block(sessions[index], samples[index], clock)
            end += 1e9 * between()
            count = len(samples[0])
            if count >= MAX_SAMPLES or (count >= least and clock() >= end):
                return samples
    finally:
        if collecting:
            gc.enable()
    raise AssertionError("rounds() never ends")


def _block(session: Session, samples: list[int], clock: Callable[[], int]) -> None:
    session.infer()
    for _ in range(BLOCK):
        start = clock()
        session.infer()
        samples.append(clock() - start)


@dataclass(frozen=True)
class Measured:
    """Files measured in turns: for each its samples in nanoseconds and its warm-up.

    `waited` is the share of the timed seconds in which this thread did not compute; None where other threads did.
    """

    samples: list[list[int]]
    warmups: list[WarmUp]
    waited: float | None


def measure(
    files: Sequence[tuple[str, Path]],
    threads: int,
    seconds: float,
    cool_down: float = 0.0,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Measured:
    """Load files (name of the runtime, path), warm each up, and sample them in turns by a clock of nanoseconds."""
    from attar.export.capture_output import captured

    sessions: list[Session] = []
    rest = _Rest(cool_down)
    try:
        for format, path in files:
            with captured():
                session = runtime_for(format).load(str(path), threads)
            sessions.append(session)
            session.set_input(some_image(session.shape))
        warmups = [warm_up(session.infer, clock=clock) for session in sessions]
        wall, busy = time.perf_counter(), time.thread_time()
        samples = sample_interleaved(sessions, seconds, clock, between=rest)
        wall, busy = time.perf_counter() - wall - rest.taken, time.thread_time() - busy
        return Measured(samples, warmups, max(0.0, 1 - busy / wall) if threads == 1 else None)
    finally:
        for session in sessions:
            session.close()


class _Rest:
    """A rest between rounds; knows how long all of them took, seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.taken = seconds, 0.0

    def __call__(self) -> float:
        if not self.seconds:
            return 0.0
        start = time.perf_counter()
        time.sleep(self.seconds)
        took = time.perf_counter() - start
        self.taken += took
        return took


def _candidates(exports: Path, other: str | None) -> list[_Candidate]:
    from attar.export.manifest import read_manifest

    if other is not None and other not in others():
        raise InputError(f"--runtime {other}: one of {', '.join(others())}, or host.{did_you_mean(other, others())}")
    entries = read_manifest(exports).files
    candidates = []
    for entry in entries:
        format = str(entry.target).partition(":")[0]
        runtimes = chosen(format, other)
        if not runtimes:
            why = f"{other} does not run it" if other else FORMATS[format].untimed or "no runtime here runs it"
            say(f"{entry.file}: not measured. {why}.")
            continue
        check_unchanged(exports, entry)
        candidates += [_Candidate(entry, exports / entry.file, runtime) for runtime in runtimes]
    if not candidates:
        raise InputError(
            f"{exports}: no verified file that runs on this machine. Export a LiteRT or ONNX target, "
            "for example with `attar export BUNDLE --target litert:int8`."
        )
    return candidates


def check_unchanged(exports: Path, entry: Any) -> None:
    """Refuse a file whose content is not what the manifest verified."""
    path = exports / entry.file
    if not path.exists():
        raise InputError(f"{path}: stands in the manifest and is missing. Export it again.")
    if sha256(path) != entry.sha256:
        raise InputError(f"{path}: changed since it was verified. Export it again.")


def _announced(files: int, loads: int, seconds: float, quick: bool) -> str:
    """What is about to be done, as it takes longer than the seconds that were asked for."""
    text = f"{files} file(s): each is loaded in {loads} fresh process(es) and warmed up; all are timed by turns for "
    return text + f"{seconds:g} seconds" + ("." if quick else "; then each is profiled.")


def _cold_starts(candidate: _Candidate, threads: int, step: Any, loads: int) -> list[dict[str, int | None]]:
    """Results of so many fresh processes, one after another."""
    words = (candidate.runtime, candidate.path.resolve(), threads)
    command = module_command("attar.benchmarks.latency.cold_start", *words)
    results = []
    for _ in range(loads):
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise InputError(f"{candidate.path}: does not run in a fresh process: {reason[0]}")
        results.append(json.loads(done.stdout.splitlines()[-1]))
        step()
    return results


def _profile(candidate: _Candidate, threads: int, step: Any) -> Profile | None:
    """Where a file's time goes; None, and said why, where that cannot be found out (a plan is the next best thing)."""
    if isinstance(runtime_for(candidate.runtime), Planner):
        step()
        return None
    try:
        return profile_of(candidate.runtime, candidate.path, threads)
    except NotProfiled as reason:
        say(f"{candidate.entry.file}: where its time goes is not known: {reason}.")
        return None
    finally:
        step()


def _record(
    candidate: _Candidate,
    warmup: WarmUp,
    samples: Sequence[int],
    cold_starts: Sequence[dict[str, int | None]],
    profile: Profile | None,
    waited: float | None,
    about: dict[str, Any],
) -> Record:
    runtime = runtime_for(candidate.runtime)
    entry = candidate.entry
    bounded = RUNTIMES[candidate.runtime].bounded
    floor = floor_of(str(entry.target), candidate.path, about["threads"], median(samples) / 1e6) if bounded else None
    conditions: dict[str, Any] = {"waited": waited, "settled": warmup.settled, "floor": floor and floor.to_json()}
    if profile:
        conditions["profile"] = {"inference": profile.inference, "runs": profile.runs}
    if isinstance(runtime, Planner):
        conditions["plan"] = runtime.plan(candidate.path)
    memory = [probe["peak_memory"] for probe in cold_starts if probe["peak_memory"] is not None]
    return Record(
        target=str(entry.target),
        file=entry.file,
        sha256=entry.sha256,
        bytes=entry.bytes,
        runtime={"name": runtime.NAME, "version": runtime.version()},
        warmup=warmup.runs,
        samples=tuple(samples),
        load=tuple(probe["load"] or 0 for probe in cold_starts),
        first=tuple(probe["first"] or 0 for probe in cold_starts),
        peak_memory=int(median(memory)) if memory else None,
        partitions=entry.partitions,
        operators=profile.operators if profile else None,
        conditions=conditions,
        **about,
    )
