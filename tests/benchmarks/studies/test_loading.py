"""The study of loaders: its loaders give batches of the size asked for, and its table the ratios of turns."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from attar.benchmarks.studies import loading

RESULTS = {
    "device": {"cpu": "a CPU", "cores": 2},
    "versions": {"torch": "2.14"},
    "rows": [
        {
            "side": 64,
            "size": 64,
            "workers": 2,
            "photos_per_second": {
                "attar": [1000, 3000],
                "attar, threads": [900, 700],
                "torchvision": [500, 1000],
                "webdataset": [400, 2000],
            },
        }
    ],
}


def test_every_turn_is_held_against_the_faster_of_the_others() -> None:
    table = loading.markdown(RESULTS)
    assert "| 64 px, 64 px | 2 | 2,000 | 800 | 750 | 1,200 | 1.75 (1.50 to 2.00) |" in table


def test_attars_and_torchvisions_loaders_go_on_after_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jieba")
    for name, value in {"CLASSES": 4, "PHOTOS": 3, "BATCH": 5}.items():
        monkeypatch.setattr(loading, name, value)
    shards, folder = loading.written(tmp_path, 16)
    for batches in (loading.attar_batches(shards, 32, 1), loading.torchvision_batches(folder, 32, 1)):
        assert list(islice(batches, 5)) == [5] * 5  # two batches are an epoch
