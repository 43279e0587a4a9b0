"""`attar geo`, as people call it."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import pytest

from attar.benchmarks.studies.world import World
from attar.geo import files
from helpers import warm

pytestmark = pytest.mark.slow


def attar(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(warm.attar("geo", *map(str, words)), capture_output=True, text=True)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    seen = World().observe(1000)
    rows = ["label,latitude,longitude,date", "nobody,0,0,", ",1,2,"]
    for label, (latitude, longitude), day in zip(seen.label, seen.places, seen.days):
        date = datetime.date(2024, 1, 1) + datetime.timedelta(int(day) - 1)
        rows.append(f"{seen.labels[label]},{latitude:.5f},{longitude:.5f},{date.isoformat()}")
    path = tmp_path_factory.mktemp("seen") / "seen.csv"
    path.write_text("\n".join(rows))
    return path


def test_a_table_becomes_a_prior_that_can_be_asked(table: Path, tmp_path: Path) -> None:
    done = attar(table, "-o", tmp_path / "geo", "--steps", 150, "--at", "48.14,11.58,2024-05-31", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["labels"], told["observations"]) == (12, 1000)
    assert told["unseen_places"]["nats"] < told["unseen_places"]["nats_by_frequency"]
    assert "Left out: 1 at 0, 0" in done.stderr and "times as likely" in done.stderr
    [answer] = told["answers"]
    assert len(answer["labels"]) == 5 and answer["labels"][0]["label"].startswith("label ")
    again = attar(tmp_path / "geo", "--at", "48.14,11.58,2024-05-31", "--json")
    assert json.loads(again.stdout)["answers"] == told["answers"]
    shown = attar(tmp_path / "geo", "--at", "48.14,11.58,2024-05-31").stdout
    assert answer["labels"][0]["label"] in shown and max(map(len, shown.splitlines())) <= 80
    prior = files.load(tmp_path / "geo")
    assert prior.counts.sum() == 1000 and len(prior.labels) == 12


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--output: name the folder"),
        (("-o", "OUT", "--at", "91,5"), "--at 91,5: latitude 91"),
        (("-o", "OUT", "--at", "48,11,31.5.2024"), "is not year-month-day"),
        (("-o", "OUT", "--at", "48"), "is not LAT,LON or LAT,LON,DATE"),
        (("-o", "OUT", "--at", ",11"), "has no place"),
        (("-o", "TABLE"), "exists already"),
        (("-o", "OUT", "--student", "nowhere"), "nowhere: not a bundle"),
    ],
)
def test_what_it_refuses(words: tuple[str, ...], says: str, table: Path, tmp_path: Path) -> None:
    places = {"OUT": str(tmp_path / "out"), "TABLE": str(table)}
    done = attar(table, *(places.get(word, word) for word in words))
    assert done.returncode == 2 and says in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_photos(tmp_path: Path) -> None:
    assert "--output: name the folder" in attar(tmp_path, "--at", "1,2").stderr
    done = attar(tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 2 and str(tmp_path) in done.stderr.replace("\n", "") and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
