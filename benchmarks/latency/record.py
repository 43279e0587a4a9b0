"""Benchmark records: one JSON line a measurement. Reports are made from records, never from memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from attar.benchmarks.latency.intervals import in_rounds
from attar.errors import InputError
from attar.files import digest_of, make_folder, write_text

SCHEMA = 2
"""Version 1 had none of the fields from `operators` on; it is still read."""
FILE = "benchmarks.jsonl"
"""Name of the records' file in an output folder."""
Key = tuple[str, str]
"""A target, and the name of a runtime."""
HOST = "host"
"""The kind of a device whose record tells none: the machine that attar runs on."""


@dataclass(frozen=True)
class Record:
    """One file measured once. Times are in nanoseconds, sizes in bytes.

    Attributes:
        target: such as `litert:int8`.
        file: name in the exports folder.
        sha256: identity of the file; a record counts for no other content.
        runtime: its name and version.
        device: what `attar.benchmarks.latency.host.describe` says, and the load average before and after; elsewhere its
            `kind`, such as `browser`, and what it says of itself.
        threads: threads of the runtime.
        measured: when, ISO 8601 in UTC; files of one interleaved run share it.
        warmup: untimed inferences before the first sample.
        samples: every timed inference, in the order measured.
        load: opening the file, once in each fresh process.
        first: the first inference, once in each fresh process.
        peak_memory: growth of the peak resident memory by loading and running the file, over a process
            that had only imported the runtime; median of the fresh processes; None where unknown.
        partitions: what the delegate took, from the manifest; of a phone, what it printed.
        operators: where the time goes, slowest first: `{"name", "operator", "nanoseconds"}`, of one inference while it
            is profiled (see `attar.benchmarks.latency.op_profile`; of a phone, the mean that it printed). Several can
            have the name of one layer. None where the runtime does not say.
        agreement: outputs computed there against the expected ones: `{"images", "max_error", "top1"}`, and
            `agrees`, the verdict, where one was reached; None where the runtime is the one that verified the file.
        conditions: what else was noted: `waited` and `settled` (see `attar.benchmarks.latency.stability`), `floor` (see
            `attar.benchmarks.latency.roofline`), `profile` (`{"inference", "runs"}`, see
            `attar.benchmarks.latency.op_profile`), `plan` (Core ML's own estimate for each operator, see
            `attar.benchmarks.runtimes.coreml`); of a device that tells, its battery and temperature, each a pair of
            before and after; what held throughout, each one value.
        run: files that were measured in turns share it.
        block: consecutive samples of one turn; the runs' n-th turns belong together.
    """

    target: str
    file: str
    sha256: str
    bytes: int
    runtime: dict[str, str]
    device: dict[str, Any]
    threads: int
    measured: str
    warmup: int
    samples: tuple[int, ...]
    load: tuple[int, ...]
    first: tuple[int, ...]
    peak_memory: int | None
    partitions: dict[str, Any] | None
    operators: tuple[dict[str, Any], ...] | None = None
    agreement: dict[str, Any] | None = None
    conditions: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    block: int = 1

    @property
    def key(self) -> Key:
        """Which file it is, by its target, and what ran it: what two measurements of the same thing have in common."""
        return self.target, self.runtime["name"]

    @property
    def rounds(self) -> np.ndarray:
        """The samples by turns, float64 (rounds, block)."""
        return in_rounds(self.samples, self.block)

    @property
    def percentiles(self) -> dict[str, float]:
        """p50, p90 and p99 of the samples."""
        return percentiles(self.samples)

    def to_json(self) -> dict[str, Any]:
        """As plain data, with the percentiles spelled out for readers of the file, and the digest of all of it."""
        value = json.loads(json.dumps({"schema": SCHEMA, **asdict(self), **self.percentiles}, allow_nan=False))
        return {**value, "digest": digest_of(value)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Record:
        """Read back what `to_json` wrote; what is derived is computed anew from the samples.

        Records of version 0.1 have no digest; those are taken as they are.
        """
        value = dict(value)
        digest = value.pop("digest", None)
        if digest is not None and digest != digest_of(value):
            raise ValueError("its digest is another one: it is damaged, or was edited")
        if value["schema"] not in (1, SCHEMA):
            raise ValueError(f"schema version {value['schema']}, and this attar reads versions up to {SCHEMA}")
        needed = {each.name for each in fields(Record) if each.default is MISSING and each.default_factory is MISSING}
        values = {each.name: value[each.name] for each in fields(Record) if each.name in {*needed, *value}}
        lists = {
            name: tuple(values[name])
            for name in ("samples", "load", "first", "operators")
            if values.get(name) is not None
        }
        return Record(**{**values, **lists})


def percentiles(samples: Sequence[int]) -> dict[str, float]:
    """p50, p90 and p99 (linear interpolation between order statistics), in the samples' unit."""
    return dict(zip(("p50", "p90", "p99"), np.percentile(samples, [50, 90, 99]).tolist()))


def append(records: Iterable[Record], folder: Path) -> Path:
    """Add records to `folder/benchmarks.jsonl`: all of them or, after an error, none."""
    make_folder(folder)
    path = folder / FILE
    with FileLock(folder / f".{FILE}.lock"):
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if before and not before.endswith("\n"):
            before += "\n"
        lines = (json.dumps(record.to_json(), allow_nan=False) for record in records)
        write_text(path, before + "".join(line + "\n" for line in lines))
    return path


def read(folder: Path) -> list[Record]:
    """All records of a folder, oldest first; none when nothing was measured yet."""
    path = folder / FILE
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            records.append(Record.from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}: not a benchmark record ({error}). Remove the line and measure again."
            ) from error
    return records


def latest(records: Iterable[Record], sha256: str, kind: str = HOST) -> Record | None:
    """The last measurement of a file with this content on a kind of device, or None.

    A phone's or a browser's measurement never takes the place of this machine's.
    """
    of_kind = (record for record in reversed(list(records)) if record.device.get("kind", HOST) == kind)
    return next((record for record in of_kind if record.sha256 == sha256), None)
