"""Which of the exported files an app runs: the fastest for LiteRT.js, and one for ONNX Runtime Web as a fallback."""

from __future__ import annotations

from pathlib import Path

from attar.benchmarks.latency import record
from attar.errors import InputError, did_you_mean
from attar.export.manifest import FileEntry, Manifest

FORMATS = ("litert", "onnx")
"""What a browser runs, the preferred one first."""


def choose(manifest: Manifest, exports: Path, target: str | None = None) -> list[FileEntry]:
    """The files of an app, the one to try first in front.

    Of each format it is the one with the least median latency in `benchmarks.jsonl` beside the exports folder, if each
    of them was timed there; else the smallest. Every file of a manifest lost no more accuracy than its export allowed.

    Args:
        manifest: of the exports folder.
        exports: the folder.
        target: take this one first, such as `litert:fp16`.

    Raises:
        InputError: no such file, or none that a browser runs.
    """
    by_format = {each: [entry for entry in manifest.files if _format(entry) == each] for each in FORMATS}
    known = {entry.target: entry for entries in by_format.values() for entry in entries}
    if not known:
        raise InputError(
            f"{exports}: no file that a browser runs. Export a LiteRT or ONNX target, such as litert:int8."
        )
    if target is not None and target not in known:
        hint = did_you_mean(target, known)
        raise InputError(f"{exports}: no file of {target} that a browser runs.{hint} Here: {', '.join(known)}.")
    milliseconds = _timed(exports)
    best = [_fastest(entries, milliseconds) for entries in by_format.values() if entries]
    if target is None:
        return best
    first = known[target]
    return [first, *(entry for entry in best if _format(entry) != _format(first))]


def runnable(manifest: Manifest) -> bool:
    """Whether there is a file that a browser runs."""
    return any(_format(entry) in FORMATS for entry in manifest.files)


def _format(entry: FileEntry) -> str:
    return entry.target.partition(":")[0]


def _fastest(entries: list[FileEntry], milliseconds: dict[str, float]) -> FileEntry:
    if all(entry.sha256 in milliseconds for entry in entries):
        return min(entries, key=lambda entry: milliseconds[entry.sha256])
    return min(entries, key=lambda entry: entry.bytes)


def _timed(exports: Path) -> dict[str, float]:
    """SHA-256 of a file -> its last median latency on this machine, ms."""
    folder = exports.resolve().parent
    records = record.read(folder)
    found = {each.sha256: record.latest(records, each.sha256) for each in records}
    return {digest: each.percentiles["p50"] / 1e6 for digest, each in found.items() if each}
