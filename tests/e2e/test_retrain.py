"""A run goes on with what people said: digits, four people, one of whom says wrong labels, and a new class."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from attar.bundle import read_bundle
from attar.cli.pipeline import run
from attar.data.observations import Place
from attar.data.photolist import read_list
from attar.deploy.collect.store import opened
from attar.deploy.retrain.gather import Rules
from attar.deploy.retrain.plan import plan
from attar.errors import InputError
from attar.recipe import Recipe
from attar.runfolder import RunFolder
from helpers.collecting import attar
from helpers.field import Field, as_sent, divided
from helpers.observed import jpeg

CLASSES = ("0", "1", "2", "3")
NEW = "4"
RECIPE: dict[str, Any] = {
    "views": {"crop_area": [0.8, 1.0], "aspect": 1.2, "horizontal_flip": False, "rotate": 5, "color": 0.2, "count": 4},
    "teacher": None,
    "student": {
        "name": "mobilenetv4_conv_small_035",
        "pretrained": False,
        "head_width": 64,
        "size": 32,
        "crop": 1.0,
        "epochs": 40,
        "batch_size": 32,
        "lr": 0.004,
    },
    "targets": ["onnx:fp32"],
    "bench": {"threads": 1, "seconds": 1, "quick": True},
}


RULES = Rules(share=0.3)


@dataclass
class World:
    """A run, what people sent, and whose observation and which true class each is."""

    run: Path
    observations: Path
    true: dict[str, str]
    who: dict[str, str]
    copy: str
    """Id of a validation photo that came back, with a wrong label."""
    moved: Path
    """A folder for more runs."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("retrain")
    base, rest = divided(folder, [*CLASSES, NEW], own=40, new=40)
    new_class = [(path, NEW) for path in sorted((base / NEW).iterdir())]
    aside = (base / NEW).rename(folder / "four")
    rest += [(aside / path.name, NEW) for path, _ in new_class]
    first = folder / "run-1"
    run(Recipe.model_validate({**RECIPE, "data": {"path": str(base)}}), first)
    true, who = {}, {}
    with opened(folder / "plants", create=True) as store:
        people = ("Ana", "Ben", "Cleo", "Vandal")
        for name in people:
            store.invite(name)
        field = Field(store, CLASSES)
        for n, (path, label) in enumerate(rest):
            sender = people[n % 4]
            said = CLASSES[(CLASSES.index(label) + 1) % 4] if sender == "Vandal" and label in CLASSES else label
            id = field.send(as_sent(path), sender, said, Place(latitude=n % 4, longitude=n % 3))
            true[id], who[id] = label, sender
            field.accept(id, NEW if label == NEW else "")
        held = next(name for name, label, side, _ in read_list(first / "photos.json") if side == "val" and label == "1")
        copy = field.send(as_sent(base / held, quality=60), "Ana", "2")
        field.accept(copy)
        true[copy], who[copy] = "1", "Ana"
    return World(first, folder / "plants", true, who, copy, folder)


@pytest.fixture(scope="module")
def second(world: World) -> Path:
    output = world.moved / "run-2"
    attar("retrain", world.run, "--observations", world.observations, "--output", output, "--share", 0.3, "--quick")
    return output


def told(output: Path) -> dict[str, Any]:
    return json.loads((output / "retrain.json").read_text())


def test_validation_photos_stay_and_copies_of_them_are_not_trained_on(world: World, second: Path) -> None:
    before = {digest for *_, side, digest in read_list(world.run / "photos.json") if side == "val"}
    now = {digest: side for *_, side, digest in read_list(second / "photos.json")}
    assert {now[digest] for digest in before} == {"val"}
    (found,) = [each for each in told(second)["left_out"] if each["id"] == world.copy]
    assert found["reason"] == "looks like a validation photo"


def test_wrong_labels_go_back_to_review_and_are_not_trained_on(world: World, second: Path) -> None:
    used = [*told(second)["train"], *told(second)["val"]]
    wrong = [id for id in world.who if world.who[id] == "Vandal" and world.true[id] in CLASSES]
    assert len(wrong) > 20 and not set(wrong) & set(used)
    with opened(world.observations) as store:
        doubted = {id for id, _ in store.doubts()}
    assert set(wrong) <= doubted
    good = [id for id in world.who if world.who[id] != "Vandal" and id != world.copy]
    assert len(doubted & set(good)) <= len(good) / 10


def test_people_are_on_one_side_and_the_classifier_is_widened(world: World, second: Path) -> None:
    found = told(second)
    assert not {world.who[id] for id in found["train"]} & {world.who[id] for id in found["val"]}
    assert found["train"] and found["val"]
    student = read_bundle(second / "student", "student")
    assert student.labels == (*CLASSES, NEW)
    assert student.metrics["top1"] > 0.85
    assert student.provenance["continued_from"]["fingerprint"] == read_bundle(world.run / "student").fingerprint
    ids = {Path(name).stem for name in student.provenance["data"]["added_photos"]}
    assert ids == {*found["train"], *found["val"]}


def test_a_run_that_began_goes_on_with_the_same_photos(world: World, second: Path) -> None:
    with opened(world.observations) as store:
        field = Field(store, CLASSES, sent=10_000)
        for number, path in enumerate(sorted((world.moved / "digits" / "3").iterdir())[-5:]):
            field.accept(field.send(as_sent(path, 80 + number), "Ben", "3"))
    again = plan(RunFolder(world.run), world.observations, RunFolder(second), RULES, dry_run=True)
    assert again.found is None and again.told["train"] == told(second)["train"]


def test_what_was_withdrawn_is_left_out_of_the_next_run(world: World, second: Path) -> None:
    id = told(second)["train"][0]
    made = plan(
        RunFolder(second),
        world.observations,
        RunFolder(world.moved / "run-3"),
        replace(RULES, without=(id,)),
        dry_run=True,
    )
    assert made.told["gone"] == [id]
    assert id not in made.told["train"]
    assert set(told(second)["train"]) - {id} <= set(made.told["train"])
    assert not (world.moved / "run-3").exists()


def test_what_another_folder_brought_stays(world: World, second: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "more", create=True) as store:
        store.invite("Eve")
        field = Field(store, CLASSES, sent=20_000)
        path = sorted((world.moved / "digits" / "0").iterdir())[-1]
        new = field.send(as_sent(path), "Eve", "0")
        field.accept(new)
    made = plan(RunFolder(second), tmp_path / "more", RunFolder(tmp_path / "run"), RULES, dry_run=True)
    assert set(made.told["train"]) == {*told(second)["train"], new}


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Path]:
    """Observations about a model of other labels."""
    with opened(tmp_path / "trees", create=True) as store:
        store.invite("Ana")
        field = Field(store, ["ash", "elm"])
        field.accept(field.send(jpeg(3), "Ana", "ash"))
    yield tmp_path / "trees"


def test_bad_input_is_refused_in_words(world: World, second: Path, others: Path, tmp_path: Path) -> None:
    def refused(match: str, run: Path, observations: Path, output: Path, rules: Rules = RULES) -> None:
        with pytest.raises(InputError, match=match):
            plan(RunFolder(run), observations, RunFolder(output), rules)

    new = tmp_path / "run"
    refused("about another model, which answered 'ash'", world.run, others, new)
    refused("no observation of .* has this id", world.run, world.observations, new, replace(RULES, without=("nobody",)))
    refused("with other rules", world.run, world.observations, second, replace(RULES, unreviewed=True))
    refused("holds another run", world.run, world.observations, world.run)
    refused("no observations here", world.run, tmp_path / "empty", new)
    assert not new.exists()
