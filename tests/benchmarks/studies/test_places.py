"""The study of made worlds: its rows, in small, and its interval."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from attar.benchmarks.studies import places
from attar.export.geo_files import export_prior


def test_each_world_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    kinds = {name: places.WORLDS[name] for name in list(places.WORLDS)[3:5]}
    monkeypatch.setattr(places, "WORLDS", kinds)
    monkeypatch.setattr(places, "OBSERVATIONS", 200)
    monkeypatch.setattr(places, "PHOTOS", 100)
    monkeypatch.setattr(places, "export_prior", lambda folder, _: export_prior(folder, ["onnx"]))
    out = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["places", "--seeds", "2", "--steps", "3", "--json", str(out)])
    places.main()
    shown, figures = capsys.readouterr().out, json.loads(out.read_text())
    assert "geo.onnx" in shown and all(name in shown for name in kinds) and list(figures) == list(kinds)
    assert all(len(told) == 2 and told[0]["photos"] == 100 and "weight" in told[0] for told in figures.values())


def test_the_interval_counts_what_is_larger() -> None:
    alike = [{"gain": 0.1, "low": 0.06, "high": 0.14}] * 4
    assert places.interval(alike) == pytest.approx((0.08, 0.12))
    apart = [{"gain": gain, "low": gain - 0.01, "high": gain + 0.01} for gain in (0.0, 0.2)]
    low, high = places.interval(apart)
    assert low < -1 and high > 1
