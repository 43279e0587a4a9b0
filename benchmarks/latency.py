"""Latency of the exported files on this machine, all of them interleaved in one run.

A machine's speed drifts: other programs start, the CPU warms up and slows down. Files measured one
after another would each meet a different machine, so here they take turns in short blocks, in an
order shuffled anew each round by a fixed seed, and every slow second is shared by all.

A block starts with one untimed inference, because the file before it has left its own weights in the
CPU's caches; an app that classifies with one model does not meet that.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from attar.console import bar, say
from attar.errors import InputError
from attar.files import sha256
from benchmarks import record
from benchmarks.device import describe, load_average
from benchmarks.record import Record
from benchmarks.runtimes import ELSEWHERE, RUNTIMES, Session, runtime_for

BLOCK = 10
"""Timed inferences of one file before the next file's turn."""
MIN_SAMPLES = 50
"""Samples of each file, even where the time is over before."""
MAX_SAMPLES = 2_000
"""Samples of each file after which more tell nothing new about p99."""
PROBES = 3
"""Fresh processes that load each file and run it for the first time."""
SEED = 0
"""Decides the order of files in each round."""

_WARMUP_RUNS, _WARMUP_SECONDS = 10, 0.3


@dataclass(frozen=True)
class _Candidate:
    """A file of the manifest that a runtime here can time."""

    entry: Any
    path: Path
    format: str


def bench(exports: Path, *, threads: int = 1, seconds: float = 10.0, output: Path | None = None) -> list[Record]:
    """Measure every verified file that a runtime on this machine can run.

    Args:
        exports: folder with a manifest.json.
        threads: threads of each runtime.
        seconds: time for all files together, after warm-up; each gets at least `MIN_SAMPLES` all the same.
        output: folder whose benchmarks.jsonl the records are added to; by default the one around `exports`.

    Returns:
        One record a file, in the manifest's order. Core ML files have none: they need an Apple device.

    Raises:
        InputError: no manifest, no file that runs here, a file that changed since it was verified, or a
            runtime that is not installed.
    """
    if threads < 1 or not seconds > 0:
        raise InputError(f"threads {threads}, seconds {seconds}: both must be positive.")
    candidates = _candidates(Path(exports))
    device = {**describe(), "load_average": [load_average()]}
    with bar("Loading in fresh processes", PROBES * len(candidates)) as step:
        probes = [_probe_often(candidate, threads, step) for candidate in candidates]
    samples, warmups = _measure(candidates, threads, seconds)
    device["load_average"].append(load_average())
    measured = datetime.now(UTC).isoformat(timespec="seconds")
    records = [
        _record(candidate, device, threads, measured, warmup, taken, probe)
        for candidate, warmup, taken, probe in zip(candidates, warmups, samples, probes)
    ]
    record.append(records, Path(output) if output else Path(exports).resolve().parent)
    return records


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
) -> list[list[int]]:
    """Nanoseconds of every timed inference by `clock`, a list for each session, all of the same length.

    At least `least` of each are taken, even where the time is over before.
    """
    samples: list[list[int]] = [[] for _ in sessions]
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of an inference would be counted as the model's time
    try:
        end = time.perf_counter() + seconds
        for order in rounds(len(sessions)):
            for index in order:
                _block(sessions[index], samples[index], clock)
            count = len(samples[0])
            if count >= MAX_SAMPLES or (count >= least and time.perf_counter() >= end):
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


def _measure(candidates: Sequence[_Candidate], threads: int, seconds: float) -> tuple[list[list[int]], list[int]]:
    """Load all files, warm each up, and sample them -> samples and warm-up counts."""
    from export.noise import captured

    sessions: list[Session] = []
    rng = np.random.default_rng(SEED)
    try:
        for candidate in candidates:
            with captured():
                session = runtime_for(candidate.format).load(str(candidate.path), threads)
            sessions.append(session)
            session.set_input(rng.integers(0, 256, session.shape, dtype=np.uint8))
        warmups = [_warm_up(session) for session in sessions]
        return sample_interleaved(sessions, seconds), warmups
    finally:
        for session in sessions:
            session.close()


def _warm_up(session: Session) -> int:
    end = time.perf_counter() + _WARMUP_SECONDS
    runs = 0
    while runs < _WARMUP_RUNS or time.perf_counter() < end:
        session.infer()
        runs += 1
    return runs


def _candidates(exports: Path) -> list[_Candidate]:
    from export import read_manifest

    entries = read_manifest(exports).files
    candidates = []
    for entry in entries:
        format = str(entry.target).partition(":")[0]
        if format not in RUNTIMES:
            say(f"{entry.file}: not measured. {ELSEWHERE.get(format, 'No runtime here runs it')}.")
            continue
        check_unchanged(exports, entry)
        candidates.append(_Candidate(entry, exports / entry.file, format))
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


def _probe_often(candidate: _Candidate, threads: int, step: Any) -> list[dict[str, int | None]]:
    """Results of `PROBES` fresh processes, one after another."""
    command = [sys.executable, "-m", "benchmarks.probe", candidate.format, str(candidate.path.resolve()), str(threads)]
    source = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    results = []
    for _ in range(PROBES):
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise InputError(f"{candidate.path}: does not run in a fresh process: {reason[0]}")
        results.append(json.loads(done.stdout.splitlines()[-1]))
        step()
    return results


def _record(
    candidate: _Candidate, device: dict[str, Any], threads: int, measured: str, warmup: int,
    samples: Sequence[int], probes: Sequence[dict[str, int | None]],
) -> Record:  # fmt: skip
    runtime = runtime_for(candidate.format)
    entry = candidate.entry
    memory = [probe["peak_memory"] for probe in probes if probe["peak_memory"] is not None]
    return Record(
        target=str(entry.target), file=entry.file, sha256=entry.sha256, bytes=entry.bytes,
        runtime={"name": runtime.NAME, "version": runtime.version()}, device=device, threads=threads,
        measured=measured, warmup=warmup, samples=tuple(samples),
        load=tuple(probe["load"] or 0 for probe in probes), first=tuple(probe["first"] or 0 for probe in probes),
        peak_memory=int(median(memory)) if memory else None, partitions=entry.partitions,
    )  # fmt: skip
