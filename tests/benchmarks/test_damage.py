"""Flipped bits in what measurements are kept in: noticed, or without effect."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from attar.benchmarks.latency import record
from attar.benchmarks.latency.history import opened
from attar.benchmarks.report.report import history_table
from attar.errors import InputError
from helpers import warm

ROOT = Path(__file__).parents[2]


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_three_hundred_flips_in_a_history_are_refused_or_change_nothing(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with opened(path, create=True) as lab:
        lab.add(small.records, ["v1"])
        before = lab.records(), lab.tags()
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        path.write_bytes(flipped(whole, rng.randrange(8 * len(whole))))
        try:
            with opened(path) as lab:
                after = lab.records(), lab.tags()
        except InputError:
            refused += 1
            continue
        assert after == before
    assert refused > 100


def test_a_measurement_that_was_changed_by_hand_is_refused(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with opened(path, create=True) as lab:
        lab.add(small.records)
    shutil.copy(path, tmp_path / "copy")
    for statement in (
        "UPDATE records SET content = replace(content, '\"threads\": 1', '\"threads\": 2')",
        "UPDATE records SET target = 'litert:int8'",
        "UPDATE records SET id = 'x' || id",
    ):
        shutil.copy(tmp_path / "copy", path)
        connection = sqlite3.connect(path)
        connection.execute("DROP TRIGGER records_stay")
        with connection:
            connection.execute(statement)
        connection.execute(
            "CREATE TRIGGER records_stay BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'records stay'); END"
        )
        connection.close()
        with opened(path) as lab, pytest.raises(InputError, match="damaged"):
            lab.records()


def test_two_hundred_flips_in_a_record_file_are_refused_or_change_nothing(small: Any, tmp_path: Path) -> None:
    path = record.append(small.records, tmp_path)
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(200):
        path.write_bytes(flipped(whole, rng.randrange(8 * len(whole))))
        try:
            records = record.read(tmp_path)
        except InputError:
            refused += 1
            continue
        assert records == list(small.records)
    assert refused > 150


def test_records_of_version_0_1_are_read(small: Any, tmp_path: Path) -> None:
    value = small.records[0].to_json()
    del value["digest"]
    (tmp_path / record.FILE).write_text(json.dumps(value) + "\n")
    assert record.read(tmp_path) == [small.records[0]]


def test_tags_and_devices_that_look_like_markup_are_text(small: Any, tmp_path: Path, capsys: Any) -> None:
    """A tag with `[/x]` ended `attar history` for good."""
    odd = replace(small.records[0], device={**small.records[0].device, "cpu": "CPU [/x] \x1b[31m"})
    path = tmp_path / "h.sqlite"
    with opened(path, create=True) as lab:
        lab.add([odd], ["[/x]", "[bold]"])
        Console(width=300).print(history_table(lab.records(), lab.tags()))
    shown = capsys.readouterr().out
    assert "[/x]" in shown and "[bold]" in shown and "\x1b" not in shown


def test_nothing_is_left_in_the_temporary_folder(small: Any, shapes: Path, tmp_path: Path) -> None:
    """Each Core ML file left a `tmp*.mlpackage`."""
    pytest.importorskip("coremltools")
    (tmp_path / "tmp").mkdir()
    targets = ["-t", "coreml:fp16", "-t", "onnx:fp32"]
    command = warm.attar("export", small.student.path, *targets, "--data", shapes, "-o", tmp_path / "exports")
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "tmp").glob("*mlpackage*")) and not list((tmp_path / "tmp").glob("attar-*"))
    assert not list((tmp_path / "exports").glob(".tmp-*"))
