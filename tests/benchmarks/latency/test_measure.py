"""Files take turns, only inferences are timed, and a real LiteRT and a real ONNX file are measured."""

from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attar.benchmarks.latency import measure, record
from attar.benchmarks.latency.measure import BLOCK, MAX_SAMPLES, MIN_SAMPLES, bench, rounds, sample_interleaved
from attar.errors import InputError
from attar.export.manifest import read_manifest, write_manifest


class Counting:
    """A session that notes when it was run."""

    shape = (1, 1, 1, 3)

    def __init__(self, name: int, log: list[int]) -> None:
        self.name, self.log, self.collecting = name, log, False

    def set_input(self, image: np.ndarray) -> None: ...

    def infer(self) -> None:
        self.log.append(self.name)
        self.collecting = self.collecting or gc.isenabled()

    def close(self) -> None: ...


def test_every_round_runs_every_file_once_in_an_order_that_the_seed_fixes() -> None:
    first, again, other = (list(islice(rounds(5, seed), 20)) for seed in (0, 0, 1))
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in first)
    assert first == again != other
    assert len({tuple(order) for order in first}) > 10


def test_files_take_turns_in_blocks_and_the_collector_rests() -> None:
    log: list[int] = []
    sessions = [Counting(name, log) for name in range(3)]
    samples = sample_interleaved(sessions, seconds=0.0)
    assert [len(s) for s in samples] == [MIN_SAMPLES] * 3
    turns = [log[i : i + BLOCK + 1] for i in range(0, len(log), BLOCK + 1)]
    assert all(len(set(turn)) == 1 for turn in turns)
    assert [turn[0] for turn in turns] == [i for order in islice(rounds(3), MIN_SAMPLES // BLOCK) for i in order]
    assert gc.isenabled() and not any(session.collecting for session in sessions)


def test_sampling_ends_when_more_would_tell_nothing() -> None:
    (samples,) = sample_interleaved([Counting(0, [])], seconds=3600)
    assert len(samples) == MAX_SAMPLES


def test_real_files_are_measured_and_recorded(small: Any) -> None:
    assert [r.target for r in small.records] == ["litert:fp32", "onnx:fp32"]
    assert record.read(small.folder)[: len(small.records)] == small.records
    for r in small.records:
        assert len(r.samples) >= MIN_SAMPLES and min(r.samples) > 1_000
        assert len(r.load) == len(r.first) == measure.PROBES
        assert min(r.load) > 10_000  # opening a model takes more than 10 microseconds anywhere
        assert r.sha256 and r.threads == 1 and r.warmup >= 10 and r.device["cores"] >= 1
    assert small.records[0].runtime["version"] != "unknown"


def test_memory_grows_by_at_least_the_weights(small: Any) -> None:
    for r in small.records:
        if r.peak_memory is not None:
            assert 0.5 * r.bytes < r.peak_memory < 500e6


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        bench(tmp_path)


def test_bad_arguments(small: Any) -> None:
    for wrong in ({"threads": 0}, {"seconds": 0.0}):
        with pytest.raises(InputError, match="positive"):
            bench(small.exports, **wrong)


def test_a_changed_file_is_refused_and_nothing_is_written(small: Any, tmp_path: Path) -> None:
    exports = shutil.copytree(small.exports, tmp_path / "exports")
    path = exports / small.records[1].file
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match=path.name):
        bench(exports, seconds=0.1)
    assert not (tmp_path / record.FILE).exists()


def test_a_manifest_without_files(small: Any, tmp_path: Path) -> None:
    write_manifest(replace(read_manifest(small.exports), files=(), guide={}), tmp_path)
    with pytest.raises(InputError, match="no verified file"):
        bench(tmp_path)


def test_a_quick_measurement_loads_once_and_profiles_nothing(small: Any, tmp_path: Path, capsys: Any) -> None:
    records = bench(small.exports, seconds=0.2, output=tmp_path, quick=True)
    assert all(len(each.load) == 1 and each.operators is None and each.samples for each in records)
    said = " ".join(capsys.readouterr().err.split())
    assert "2 file(s): each is loaded in 1 fresh process(es)" in said and "profiled" not in said
