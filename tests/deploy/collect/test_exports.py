"""Observations as others read them: image folders, Label Studio's tasks, Darwin Core."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.metrics.pairwise import haversine_distances

from attar.data.csvlist import METADATA
from attar.data.observations import Review, read_metadata, read_observation
from attar.data.photos import DataSpec, read_photos
from attar.deploy.collect.darwin_core import TERMS
from attar.deploy.collect.exports import export_folder
from attar.deploy.collect.label_studio import NOT_USABLE, take_annotations
from attar.deploy.collect.reviewed import reviewed
from attar.deploy.collect.store import Action, Store, in_force, opened
from attar.errors import InputError
from helpers.observed import jpeg, observation_of

PLACE = {"latitude": 48.137154, "longitude": -11.575382}
SAID: list[dict[str, Any]] = [
    {"verdict": "confirmed"},
    {"verdict": "corrected", "label": 'elm, "wych"', "place": PLACE},
    {"verdict": "other", "text": "a fern"},
    {"verdict": "unknown"},
    {"verdict": "confirmed"},
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Five observations of four photos."""
    with opened(tmp_path / "plants", create=True) as store:
        store.invite("Ana")
        for number, said in enumerate(SAID):
            photo = jpeg(number % 4)
            observation = read_observation(observation_of(photo, contributor="Ana", **said), "made")
            store.add(observation, photo, observation.image)
        yield store


def ids(store: Store) -> list[str]:
    return [str(each.observation.id) for each in store.observations()]


def decide(store: Store, number: int, action: Action, label: str = "", reviewer: str = "Ben") -> None:
    id = ids(store)[number]
    known = store.decisions(id)
    store.decide(id, reviewer, action, label, known[-1].number if known else 0)


def test_an_image_folder_has_a_row_and_a_photo_per_observation(store: Store, tmp_path: Path) -> None:
    decide(store, 0, Action.ACCEPT)
    decide(store, 2, Action.RELABEL, "oak")
    decide(store, 3, Action.REJECT)
    decide(store, 4, Action.REJECT)
    decide(store, 4, Action.UNDO)
    done = export_folder(store, tmp_path / "out")
    assert vars(done) == {"observations": 4, "labelled": 4, "reviewed": 2, "rejected": 1, "waiting": 0}
    with (tmp_path / "out" / METADATA).open(newline="") as stream:
        rows = list(read_metadata(stream, METADATA))
    assert [row.label for row in rows] == ["ash", 'elm, "wych"', "oak", "ash"]
    assert [row.review for row in rows] == [Review.ACCEPT, Review.NONE, Review.RELABEL, Review.NONE]
    assert rows[1].observation.place and rows[1].observation.place.longitude == -11.58
    for row, each in zip(rows, [each for each in reviewed(store) if each.review is not Review.REJECT]):
        assert (tmp_path / "out" / row.file_name).read_bytes() == store.photo(each.stored.photo).read_bytes()
    assert len(list((tmp_path / "out" / "photos").iterdir())) == 4


def test_only_reviewed_ones_are_exported_if_asked(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no observations to export \(5 in all, 0 rejected, 5 not reviewed\)"):
        export_folder(store, tmp_path / "out", only_reviewed=True)
    assert not (tmp_path / "out").exists()
    decide(store, 1, Action.ACCEPT)
    assert export_folder(store, tmp_path / "out", only_reviewed=True).observations == 1


def test_a_folder_that_holds_something_is_left_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something already"):
        export_folder(store, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_photo_that_is_gone_is_named_and_nothing_is_written(store: Store, tmp_path: Path) -> None:
    gone = store.photo(next(store.observations()).photo)
    gone.unlink()
    with pytest.raises(InputError, match=gone.name):
        export_folder(store, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plants"]


def test_attar_itself_reads_the_folder(store: Store, tmp_path: Path) -> None:
    for number, said in enumerate(SAID[:2], 10):
        photo = jpeg(number)
        observation = read_observation(observation_of(photo, contributor="Ana", **said), "made")
        store.add(observation, photo, observation.image)
    export_folder(store, tmp_path / "out", label_studio=True, darwin_core=True)
    for place in (tmp_path / "out", tmp_path / "out" / METADATA):
        photos = read_photos(DataSpec(str(place)))
        assert photos.counts() == {"ash": 3, 'elm, "wych"': 2}
        assert "2 photos without a label are left alone" in photos.notes


def test_hugging_face_reads_the_folder(store: Store, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export_folder(store, tmp_path / "out", label_studio=True, darwin_core=True)
    read = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sorted(str(each["id"]) for each in read["train"]) == sorted(ids(store))


# --- Darwin Core ----------------------------------------------------------------------------------


def occurrences(store: Store, folder: Path) -> list[dict[str, str]]:
    export_folder(store, folder, darwin_core=True)
    with (folder / "darwin-core" / "occurrence.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_occurrences_have_terms_places_and_no_names(store: Store, tmp_path: Path) -> None:
    decide(store, 1, Action.ACCEPT)
    rows = occurrences(store, tmp_path / "out")
    assert tuple(rows[0]) == TERMS and [row["scientificName"] for row in rows] == ["ash", 'elm, "wych"', "ash"]
    assert [row["occurrenceID"] for row in rows] == [f"urn:uuid:{ids(store)[number]}" for number in (0, 1, 4)]
    assert [row["identificationVerificationStatus"] for row in rows] == ["unverified", "verified", "unverified"]
    assert rows[1]["eventDate"] == "2026-05-01T12:00:00Z"
    assert (rows[1]["decimalLatitude"], rows[1]["decimalLongitude"]) == ("48.14", "-11.58")
    assert rows[0]["decimalLatitude"] == rows[0]["geodeticDatum"] == ""
    assert "Ana" not in (tmp_path / "out" / "darwin-core" / "occurrence.csv").read_text()
    assert all((tmp_path / "out" / row["associatedMedia"]).is_file() for row in rows)


def test_the_uncertainty_reaches_the_farthest_corner_of_the_rounded_cell(store: Store, tmp_path: Path) -> None:
    [row] = [row for row in occurrences(store, tmp_path / "out") if row["decimalLatitude"]]
    latitude, longitude = float(row["decimalLatitude"]), float(row["decimalLongitude"])
    corners = [[latitude + north, longitude + east] for north in (-0.005, 0.005) for east in (-0.005, 0.005)]
    farthest = 6_371_009 * haversine_distances(np.radians([[latitude, longitude]]), np.radians(corners)).max()
    assert farthest <= int(row["coordinateUncertaintyInMeters"]) <= math.ceil(1.03 * farthest)


# --- Label Studio ---------------------------------------------------------------------------------


def tasks(store: Store, folder: Path) -> list[dict[str, Any]]:
    export_folder(store, folder, label_studio=True)
    return json.loads((folder / "label-studio" / "tasks.json").read_text())  # type: ignore[no-any-return]


def annotated(task: dict[str, Any], chosen: str, name: str = "label", **more: Any) -> dict[str, Any]:
    """A task as Label Studio exports it once somebody has chosen something."""
    value = {"choices": [chosen]}
    result = [
        {"id": "x1", "from_name": name, "to_name": "image", "type": "choices", "value": value, "origin": "manual"}
    ]
    annotation = {"id": 7, "completed_by": {"id": 1, "email": "ben@example.org"}, "result": result, "lead_time": 3.2}
    return {"id": 12, **task, "annotations": [{**annotation, "was_cancelled": False, **more}], "drafts": []}


def test_tasks_hold_what_model_person_and_reviewer_said(store: Store, tmp_path: Path) -> None:
    decide(store, 2, Action.RELABEL, "oak")
    written = tasks(store, tmp_path / "my out")
    assert [[each["model_version"] for each in task["predictions"]] for task in written] == [
        ["0" * 64, "person"],
        ["0" * 64, "person"],
        ["0" * 64],
        ["0" * 64],
        ["0" * 64, "person"],
    ]
    [said] = written[1]["predictions"][1]["result"]
    assert said["value"]["choices"] == ['elm, "wych"'] and (said["from_name"], said["to_name"]) == ("label", "image")
    assert [len(task["annotations"]) for task in written] == [0, 0, 1, 0, 0]
    assert written[0]["data"]["image"] == f"/data/local-files/?d=my%20out/photos/{ids(store)[0]}.jpg"
    interface = ElementTree.parse(tmp_path / "my out" / "label-studio" / "interface.xml").getroot()
    choices = [each.get("value") for each in interface.iter("Choice")]
    assert choices == ["ash", 'elm, "wych"', "oak", NOT_USABLE]


def test_annotations_become_decisions_once(store: Store, tmp_path: Path) -> None:
    first, second, third, fourth, fifth = tasks(store, tmp_path / "out")
    exported = [
        annotated(first, "ash"),
        annotated(second, "oak"),
        annotated(third, NOT_USABLE, name="photo"),
        annotated(fourth, "oak", was_cancelled=True),
        {**fifth, "annotations": []},
    ]
    path = tmp_path / "annotated.json"
    path.write_text(json.dumps(exported))
    assert take_annotations(store, path) == 3 and take_annotations(store, path) == 0
    found = [in_force(store.decisions(id)) for id in ids(store)]
    assert [(each.action, each.label) if each else None for each in found] == [
        (Action.ACCEPT, ""),
        (Action.RELABEL, "oak"),
        (Action.REJECT, ""),
        None,
        None,
    ]
    assert found[0] and found[0].reviewer == "ben@example.org"


def test_tasks_can_be_read_back_as_they_are(store: Store, tmp_path: Path) -> None:
    decide(store, 0, Action.ACCEPT)
    decide(store, 2, Action.RELABEL, "oak")
    tasks(store, tmp_path / "out")
    assert take_annotations(store, tmp_path / "out" / "label-studio" / "tasks.json") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not what Label Studio exports"),
        ("{}", "no list of tasks"),
        ("[1]", "not what Label Studio exports"),
        ('[{"id": 1, "image": "a.jpg", "label": "ash"}]', "JSON-MIN"),
        ("[" * 100_000, "not what Label Studio exports"),
    ],
)
def test_other_files_are_refused(store: Store, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "annotated.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        take_annotations(store, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"observation": "1"}}, "task 2: no observation here has the id '1'"),
        ({"chosen": "a\nb"}, "task 2: it takes one label"),
        ({"chosen": ""}, "task 2: it takes one label"),
    ],
)
def test_a_task_that_cannot_be_taken_is_named_and_none_is(
    store: Store, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    first, second, *_ = tasks(store, tmp_path / "out")
    path = tmp_path / "annotated.json"
    odd = annotated(second, change.get("chosen", "oak")) | {"data": change.get("data", second["data"])}
    path.write_text(json.dumps([annotated(first, "ash"), odd]))
    with pytest.raises(InputError, match=said):
        take_annotations(store, path)
    assert not list(store.decided())
