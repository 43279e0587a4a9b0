"""What a loss against negative flips is worth: the study runs, counts by hand, and its page is its record."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from attar.benchmarks.studies import flips
from attar.distill.champion import DEFAULT
from attar.files import read_json


def test_flips_and_gains_are_counted() -> None:
    champion = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], dtype=bool)
    right = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 1, 0]], dtype=bool)
    scratch = np.array([[0, 1, 0, 1, 1], [0, 0, 1, 1, 1]], dtype=bool)
    old = np.array([1, 1, 1, 1, 0], dtype=bool)
    found = flips.row("way", right, champion, scratch, old)
    assert found["flips"] == [1, 1]
    assert found["flip_rate"][0] == pytest.approx(2 / 10) and found["fewer"][0] == pytest.approx((2 - 4) / 10)
    assert found["over_half"][0] == pytest.approx((2 - 4 / 2) / 10)
    assert found["gain"][0] == pytest.approx((6 - 4) / 8), "of the classes that the champion knows"
    assert found["old"] == [0.75, 0.75] and found["new"] == [1, 0] and found["top1"] == [0.8, 0.6]
    low, high = found["fewer"][1:]
    assert low < found["fewer"][0] < high


@pytest.mark.slow
def test_it_runs_whole_and_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = "more photos and a new class"
    monkeypatch.setattr(flips, "TRIED", {name: flips.TRIED[name] for name in ("warm start", "ldi 1")})
    monkeypatch.setattr(sys, "argv", ["flips", "--output", str(tmp_path), "--short", "--case", case])
    flips.main()
    first = (tmp_path / "results.json").read_bytes()
    rows = read_json(tmp_path / "results.json")["judged"][case]
    assert [row["way"] for row in rows] == ["champion", *flips.WAYS]
    assert rows[0]["new"] == [0.0] and rows[0]["flips"] == [0], "a champion has no photo of the new class right"
    made = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.npz")}
    flips.main()
    assert (tmp_path / "results.json").read_bytes() == first
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.npz")} == made


def test_the_page_has_the_recorded_tables_and_the_ways_are_those_of_now() -> None:
    results = flips.recorded()
    text = flips.PAGE.read_text(encoding="utf-8")
    assert text == flips.page(text, results), "run python -m attar.benchmarks.studies.flips --record"
    assert results["ways"] == {
        name: way.flips and way.flips.model_dump() for name, way in (flips.TRIED | flips.WAYS).items()
    }
    assert DEFAULT in [way.flips for way in flips.WAYS.values()], "what is on by default was judged"
