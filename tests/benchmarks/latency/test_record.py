"""Records survive a round trip, and a damaged one is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attar.benchmarks.latency import record
from attar.benchmarks.latency.record import Record
from attar.errors import InputError


def made(samples: tuple[int, ...] = (10, 20, 30), sha256: str = "ab") -> Record:
    return Record(
        target="litert:fp32",
        file="ä <b>.tflite",
        sha256=sha256,
        bytes=7,
        runtime={"name": "LiteRT", "version": "2"},
        device={"cpu": "x"},
        threads=1,
        measured="2026-01-01T00:00:00+00:00",
        warmup=10,
        samples=samples,
        load=(5, 6),
        first=(7,),
        peak_memory=None,
        partitions=None,
    )


def test_percentiles_of_a_known_series() -> None:
    assert made(tuple(range(1, 102))).percentiles == {"p50": 51.0, "p90": 91.0, "p99": 100.0}


def test_round_trip_and_append(tmp_path: Path) -> None:
    first, second = made(), made((40, 50), "cd")
    record.append([first], tmp_path)
    record.append([second], tmp_path)
    assert record.read(tmp_path) == [first, second]


def test_what_only_some_runtimes_tell_survives_the_round_trip(tmp_path: Path) -> None:
    written = replace(
        made(),
        operators=({"name": "conv", "operator": "CONV_2D", "nanoseconds": 1.5},),
        agreement={"images": 4, "max_error": 0.01, "top1": 1.0},
        conditions={"battery": [0.9, 0.8]},
    )
    record.append([written], tmp_path)
    assert record.read(tmp_path) == [written]


def test_records_of_the_first_version_are_read() -> None:
    value = {**made().to_json(), "schema": 1}
    for name in ("operators", "agreement", "conditions", "digest"):
        del value[name]
    assert Record.from_json(value) == made()


def test_the_last_record_of_the_same_content_counts() -> None:
    old, new, other = made((1,)), made((2,)), made((3,), "cd")
    assert record.latest([old, new, other], "ab") is new
    assert record.latest([old], "ef") is None


def test_another_kind_of_device_never_takes_this_machines_place() -> None:
    here, phone = made((1,)), replace(made((2,)), device={"kind": "browser", "cpu": None})
    assert record.latest([here, phone], "ab") is here
    assert record.latest([here, phone], "ab", "browser") is phone
    assert record.latest([phone], "ab") is None


def test_nothing_measured_yet(tmp_path: Path) -> None:
    assert record.read(tmp_path) == []


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"schema": 99}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = record.append([made()], tmp_path)
    with path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match="line 2"):
        record.read(tmp_path)
