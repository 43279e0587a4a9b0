"""The loop's study: its page is its record, and what it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attar.benchmarks.studies.loop import in_browsers, tables
from attar.benchmarks.studies.loop import world as worlds
from attar.benchmarks.studies.loop.__main__ import result_of
from attar.benchmarks.studies.loop.photo_sets import SETS
from attar.benchmarks.studies.loop.world import PEOPLE, VANDALS, Errand, World
from attar.data.photos import DataSpec, read_photos
from attar.deploy.collect.store import opened
from attar.deploy.release.keys import create
from attar.deploy.release.publish import publish
from attar.export.export import export_student
from attar.export.web.assets import Assets, place
from attar.files import read_object, write_sealed
from attar.runfolder import RunFolder
from helpers.browser import chromium
from helpers.field import Field
from helpers.observed import jpeg
from helpers.pictures import SHAPES, draw
from helpers.small import DROP, make_student

RECORDED = read_object(tables.RESULTS)


def test_the_page_has_the_recorded_tables() -> None:
    text = tables.PAGE.read_text(encoding="utf-8")
    assert text == tables.page(text, RECORDED), "run python -m attar.benchmarks.studies.loop --record"


@pytest.mark.parametrize("title", RECORDED)
def test_what_was_recorded_is_what_the_page_claims(title: str) -> None:
    """The published file gets better, phones never learn a renamed class, and flips are at most half of plain ones."""
    told = RECORDED[title]
    assert told["gain"]["interval"][0] > 0
    own = [each for each in told["rounds"] if "plain" in each]
    assert sum(each["flips"] for each in own) <= sum(each["plain"]["flips"] for each in own) / 2
    assert all(each["labels"] == told["rounds"][0]["labels"] for each in told["rounds"])
    assert all(each["outcome"] == "held" for each in told["rounds"] if each["poison"] == "a class renamed")
    if "answered" in told:
        assert told["answered"]["published"] == told["answered"]["all"] > 0


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two classes, nothing sent yet."""
    with opened(tmp_path / "observations", create=True) as store:
        tokens = {name: store.invite(name) for name in (*PEOPLE, *VANDALS)}
    rest = [(tmp_path / f"{number}.png", ("ash", "elm")[number % 2]) for number in range(3000)]
    return World(tmp_path, SETS["solar"], ("ash", "elm"), rest=rest, tokens=tokens)


def test_one_answer_in_ten_is_wrong_and_all_of_a_vandals(world: World) -> None:
    drawn = [each for _ in range(20) for each in worlds.drawn_errands(world, VANDALS[:1])]
    people = [each for each in drawn if each.who in PEOPLE]
    assert len(people) == 20 * len(PEOPLE) * worlds.EACH
    assert 0.07 < sum(each.said != each.truth for each in people) / len(people) < 0.13
    assert all({each.said, each.truth} == {"ash", "elm"} for each in drawn if each.who == "vandal")
    assert len({each.path for each in drawn}) == len(drawn), "a photo is sent once"


def test_wrong_labels_are_counted_by_who_sent_them(world: World) -> None:
    said = [("person 0", "ash", "ash"), ("vandal", "ash", "elm"), ("person 0", "ash", "elm"), ("vandal", "elm", "ash")]
    with opened(world.store) as store:
        field = Field(store, world.classes)
        ids = [field.send(jpeg(number), who, label) for number, (who, _, label) in enumerate(said)]
    for number, (who, truth, label) in enumerate(said):
        world.errands[who].append(Errand(who, world.folder / f"{number}.png", truth, label))
    assert worlds.wrong_labels(world, 1)["people"] == {"sent": 1, "train": 0, "val": 0}, "no round yet"
    run = RunFolder(world.run(1))
    run.path.mkdir(parents=True)
    write_sealed(run.retrain, {"train": ids[:3], "val": ids[3:]})
    assert worlds.wrong_labels(world, 1) == {
        "vandals": {"sent": 2, "train": 1, "val": 1},
        "people": {"sent": 1, "train": 1, "val": 0},
    }


def test_flips_are_counted_from_round_to_round() -> None:
    first = np.array([1, 1, 0, 0], bool)
    about = {"poison": "", "sent": 11, "published": 11}
    rounds = [
        {**about, "right": [1, 0, 1, 1], "plain": [0, 0, 1, 1]},
        {**about, "right": [0, 1, 1, 1], "published": 10},
    ]
    found = result_of(first, rounds, seen=True)
    assert [(each["top1"], each["flips"]) for each in found["rounds"]] == [(0.75, 1), (0.75, 1)]
    assert found["rounds"][0]["plain"] == {"top1": 0.5, "flips": 2} and "plain" not in found["rounds"][1]
    assert found["gain"]["points"] == 0.25 and found["first"] == 0.5
    assert found["answered"] == {"all": 22, "published": 21}


@pytest.fixture
def published(world: World, shapes: Path, runtimes: Assets, monkeypatch: pytest.MonkeyPatch) -> World:
    """A first run of shapes, published; the browser's libraries are where `attar app` looks for them."""
    cache = world.folder / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    place().parent.mkdir(parents=True)
    place().symlink_to(runtimes.folder)
    photos = read_photos(DataSpec(str(shapes)))
    student = make_student("lcnet_035", photos, world.first / "student")
    export_student(student, ["onnx:fp32"], world.first / "exports", photos=photos, max_drop=DROP)
    create(world.folder / "key.pem")
    publish(world.first / "exports", world.releases, world.folder / "key.pem")
    world.classes = SHAPES
    return world


@pytest.mark.slow
def test_people_in_browsers_send_what_they_were_told_to_though_a_page_dies(published: World) -> None:
    pytest.importorskip("uvicorn")
    chromium()
    world, errands = published, []
    for number, (who, said) in enumerate([("person 0", SHAPES[0]), ("person 0", SHAPES[1]), ("vandal", SHAPES[2])] * 2):
        path = world.folder / f"sent {number}.png"
        draw(SHAPES[number % 3], 50 + number).save(path)
        errands.append(Errand(who, path, SHAPES[number % 3], said))
    with in_browsers.crowd(world) as crowd:
        for part in (errands[:3], errands[3:]):
            crowd.send(world, part)
            for each in part:
                world.errands[each.who].append(each)
            crowd.pages["person 0"].context.close()
    found = list(worlds.received(world))
    assert sorted(each.who for _, each in found) == ["person 0"] * 4 + ["vandal"] * 2
    assert {stored.observation.said for stored, _ in found} == set(SHAPES)
    assert worlds.answered_by(world, world.first, 6) == 6
