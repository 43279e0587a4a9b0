"""A thousand random corruptions of what attar writes: each is refused, or shown to change nothing.

Exported files and their manifest have such tests of their own (tests/export/test_tamper.py).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attar.benchmarks.latency import history, record
from attar.bundle import read_bundle, write_bundle
from attar.data.photolist import read_list, write_list
from attar.distill.cache import TeacherCache
from attar.errors import AttarError
from attar.files import digest_of, write_json
from attar.preprocessing import Preprocessing
from attar.runfolder import RunFolder
from attar.train.checkpoints import Checkpoints

EACH = 125
"""Corruptions of each kind of file; nine kinds make more than a thousand."""


@dataclass(frozen=True)
class Kind:
    """A kind of file: what writes it into a folder and names it, and what reads all that it says as plain data."""

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]


def _bundle(folder: Path) -> Path:
    write_bundle(
        folder / "b",
        kind="student",
        architecture={"name": "net", "num_classes": 2},
        labels=["a", "b"],
        state_dict={"w": torch.arange(60.0), "b": torch.ones(3)},
        preprocessing=Preprocessing(32, 0.9, fit="pad"),
        provenance={"seed": 1, "data": {"path": "photos"}},
        metrics={"top1": 0.5, "images": 12},
    )
    return folder / "b" / "bundle.json"


def _read_bundle(folder: Path) -> Any:
    bundle = read_bundle(folder / "b")
    weights = {name: value.tolist() for name, value in bundle.state_dict().items()}
    return bundle.fingerprint, bundle.provenance, bundle.metrics, weights


CACHE = {"teacher": "t", "data": "d", "views": "v", "shape": (12, 5)}


def _cache(folder: Path) -> Path:
    answers = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    TeacherCache(folder / "c", **CACHE).build(range(2), lambda view: [{"logits": answers + view}])
    return folder / "c" / "cache.json"


def _read_cache(folder: Path) -> Any:
    cache = TeacherCache(folder / "c", **CACHE)
    if cache.missing(range(2)):
        return "incomplete: it would be built again"
    return [cache.logits(view, np.arange(12)).tolist() for view in range(2)]


def _checkpoint(folder: Path) -> Path:
    path = folder / "s.training.pt"
    Checkpoints(path, "key", 1).save({"step": 7, "weights": torch.arange(40.0)})
    return path


def _read_checkpoint(folder: Path) -> Any:
    state = Checkpoints(folder / "s.training.pt", "key", 1).newest()
    return state and {name: getattr(value, "tolist", lambda value=value: value)() for name, value in state.items()}


LISTING = [(f"rose/{n}.jpg", "rose", ("train", "val")[n % 2], digest_of(n)) for n in range(8)]


def _list(folder: Path) -> Path:
    write_list(folder / "photos.json", LISTING)
    return folder / "photos.json"


IDENTITY = {"schema": 1, "recipe": digest_of("recipe")}


def _run(folder: Path) -> Path:
    (folder / "run" / "teacher").mkdir(parents=True)
    write_json(folder / "run" / "run.json", IDENTITY)
    return folder / "run" / "run.json"


def _read_run(folder: Path) -> Any:
    with RunFolder(folder / "run").claimed(IDENTITY):
        return "the same run"


def _record(number: int) -> record.Record:
    return record.Record(
        target="litert:int8",
        file="a.tflite",
        sha256=digest_of("a"),
        bytes=7,
        device={"cpu": "a CPU", "cores": 2},
        runtime={"name": "LiteRT", "version": "2"},
        threads=1,
        measured=f"2026-01-0{number + 1}T00:00:00+00:00",
        warmup=10,
        samples=(90, 95, 91, 99, 97, 92),
        load=(5,),
        first=(7,),
        peak_memory=None,
        partitions=None,
        run=f"r{number}",
        block=2,
    )


def _records(folder: Path) -> Path:
    return record.append([_record(number) for number in range(3)], folder)


def _history(folder: Path) -> Path:
    with history.opened(folder / "h.db", create=True) as kept:
        kept.add([_record(number) for number in range(3)], tags=["before"])
    return folder / "h.db"


def _read_history(folder: Path) -> Any:
    with history.opened(folder / "h.db") as kept:
        return [each.to_json() for each in kept.records()], kept.tags()


KINDS = {
    "bundle.json": Kind(_bundle, _read_bundle),
    "model.safetensors": Kind(lambda folder: _bundle(folder).with_name("model.safetensors"), _read_bundle),
    "cache.json": Kind(_cache, _read_cache),
    "a shard of the cache": Kind(lambda folder: _cache(folder).with_name("view-00001.npy"), _read_cache),
    "a checkpoint": Kind(_checkpoint, _read_checkpoint),
    "photos.json": Kind(_list, lambda folder: read_list(folder / "photos.json")),
    "run.json": Kind(_run, _read_run),
    "benchmarks.jsonl": Kind(_records, lambda folder: [each.to_json() for each in record.read(folder)]),
    "a history": Kind(_history, _read_history),
}


def corrupted(content: bytes, rng: random.Random) -> bytes:
    """Other bytes: a flipped bit, a wrong byte, bytes lost, doubled, zeroed or put in, or an end cut off."""
    while True:
        changed, place = bytearray(content), rng.randrange(len(content))
        length = min(rng.choice((1, 2, 7, 64)), len(content) - place)
        part = slice(place, place + length)
        match rng.randrange(7):
            case 0:
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                changed[place] = rng.randrange(256)
            case 2:
                del changed[part]
            case 3:
                changed[place:place] = content[part]
            case 4:
                changed[part] = bytes(length)
            case 5:
                changed[place:place] = rng.randbytes(length)
            case _:
                del changed[place:]
        if changed != content:
            return bytes(changed)


@pytest.mark.parametrize("name", KINDS)
def test_a_corruption_is_refused_or_changes_nothing(name: str, tmp_path: Path) -> None:
    kind, rng = KINDS[name], random.Random(name)
    whole = tmp_path / "whole"
    whole.mkdir()
    file = kind.write(whole)
    meant, content = kind.read(whole), file.read_bytes()
    refused, unchanged = 0, 0
    for number in range(EACH):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        bad = corrupted(content, rng)
        (copy / file.relative_to(whole)).write_bytes(bad)
        try:
            read = kind.read(copy)
        except AttarError as error:
            assert str(copy) in str(error), f"{number}: the error names no file: {error}"
            refused += 1
        else:
            assert read == meant, f"{number}: another meaning was read from {bad!r}"
            unchanged += 1
    assert refused > EACH / 2, (refused, unchanged)
