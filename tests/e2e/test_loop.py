"""The loop: digits, four people, one of whom says wrong labels, and a new class; a run, a gate and a release."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attar.bundle import read_bundle
from attar.cli.pipeline import run
from attar.data.observations import Place
from attar.data.photolist import read_list
from attar.data.photos import load_pixels, read_photos
from attar.deploy.collect.store import Action, opened
from attar.deploy.loop.state import LoopFolder, Outcome, Settings
from attar.deploy.loop.turn import Turned, turn
from attar.deploy.release.keys import create
from attar.deploy.release.publish import rollback, standing, status
from attar.deploy.retrain.gather import Rules
from attar.deploy.retrain.plan import _inherited, plan
from attar.errors import GateError, InputError
from attar.files import write_sealed
from attar.provenance import data_of
from attar.recipe import Recipe
from attar.runfolder import RunFolder
from helpers.collecting import ENVIRONMENT, ROOT, attar
from helpers.field import Field, as_sent, divided
from helpers.looping import giving
from helpers.observed import jpeg

CLASSES = ("0", "1", "2", "3")
NEW = "8"
"""Unlike any one of these, to a student that does not know it: it is taken for no other class under a new name."""
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
    aside = (base / NEW).rename(folder / "aside")
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
    """The run of the loop's first round. The gate lets it through: of forty photos, none has to show a gain."""
    folder, key = world.moved, world.moved / "plants.pem"
    attar("keys", key)
    where = ("--run", world.run, "--observations", world.observations, "--releases", folder / "site", "--key", key)
    how = ("--share", 0.3, "--quick", "--margin", 40, "--seconds", 0)
    before = attar("loop", folder / "loop", *where, *how, "--dry-run")
    assert before["sentence"].startswith("A round is due") and not (folder / "loop").exists()
    done = attar("loop", folder / "loop", *where, *how)
    assert done["round"]["outcome"] == "shipped" and done["round"]["release"] == 2
    return folder / "loop" / "rounds" / "001"


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


def test_nobodys_photo_becomes_a_golden_one(second: Path) -> None:
    """Everybody who has the files can see golden photos."""
    student = read_bundle(second / "student", "student")
    photos = read_photos(data_of(student.provenance))
    own = [each for each in photos.val if not photos.is_added(each)]
    assert len(own) < len(photos.val)
    known = {each.tobytes() for each in load_pixels(own, student.preprocessing)}
    golden = sorted((second / "exports" / "golden").glob("[0-9]*.png"))
    assert len(golden) == 6 and all(np.asarray(Image.open(each)).tobytes() in known for each in golden)
    for pixels in (second / "exports" / "golden").glob("photo-*-pixels.png"):
        assert np.asarray(Image.open(pixels)).tobytes() in known


def test_what_was_withdrawn_stays_so_in_later_rounds(tmp_path: Path) -> None:
    write_sealed(tmp_path / "retrain.json", {"asked": {"rules": {"without": ["a"]}}})
    found = _inherited(RunFolder(tmp_path), Rules(without=("b",)))
    assert (found.without, found.before) == (("a", "b"), ("a",))
    assert _inherited(RunFolder(tmp_path / "none"), Rules()) == Rules()


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


# --- the loop ------------------------------------------------------------------------------------


@dataclass
class Copy:
    """The world before the loop's first round, in a folder of its own, and what a training would give."""

    settings: Settings
    folder: LoopFolder
    made: Path

    def turn(self, **changes: Any) -> Turned:
        return turn(self.folder, replace(self.settings, **changes), giving(self.made))


@pytest.fixture
def copied(world: World, second: Path, tmp_path: Path) -> Copy:
    shutil.copytree(world.observations, tmp_path / "plants")
    create(tmp_path / "plants.pem")
    settings = Settings(
        str(world.run),
        str(tmp_path / "plants"),
        str(tmp_path / "site"),
        str(tmp_path / "plants.pem"),
        share=0.3,
        margin=0.4,
        seconds=0,
    )
    return Copy(settings, LoopFolder(tmp_path / "loop"), second)


def events(folder: LoopFolder) -> list[tuple[int, str]]:
    return [(each["round"], each["event"]) for each in map(json.loads, folder.log.read_text().splitlines())]


def test_a_round_is_published_and_the_next_one_waits_for_new_observations(copied: Copy) -> None:
    first = copied.turn()
    assert first.round and first.round.outcome is Outcome.SHIPPED and first.round.release == 2
    assert events(copied.folder) == [(0, "published"), (1, "began"), (1, "shipped")]
    again = copied.turn(least=5)
    assert again.round is None and "nothing new to learn from" in again.sentence
    state = copied.folder.read()
    assert state and state.settings.least == 5  # settings of a call without a round are kept, too
    with opened(Path(copied.settings.observations)) as store:
        field = Field(store, [*CLASSES, NEW], sent=30_000)
        store.invite("Dora")
        for path in sorted((copied.made.parents[2] / "digits" / "2").iterdir())[-3:]:
            field.accept(field.send(as_sent(path), "Dora", "2"))
    assert re.match("[123] new observations so far, and a round needs 5", copied.turn(least=5).sentence)
    page = copied.folder.page.read_text()
    assert "Phones have the model of round 1, release 2." in page and "looks like a validation photo" in page


def test_a_rollback_makes_the_earlier_run_the_champion_again(copied: Copy) -> None:
    copied.turn()
    rollback(Path(copied.settings.releases), Path(copied.settings.key))
    done = copied.turn()
    assert done.round is None and done.sentence == "Nothing new since round 1, which was shipped."
    with opened(Path(copied.settings.observations)) as store:
        field = Field(store, CLASSES, sent=40_000)
        store.invite("Dora")
        for path in sorted((copied.made.parents[2] / "digits" / "2").iterdir())[-3:]:
            field.accept(field.send(as_sent(path), "Dora", "2"))
    done = copied.turn(least=1, margin=0.0)
    assert done.round and done.round.champion == copied.settings.run


def test_what_is_no_better_or_fails_is_held_and_not_tried_again(copied: Copy) -> None:
    held = copied.turn(margin=0.0)
    assert held.round and held.round.outcome is Outcome.HELD and held.sentence.startswith("Hold: ")
    assert "does not show a gain" in held.sentence
    assert copied.turn(margin=0.0).sentence == "Nothing new since round 1, which was held."
    with opened(Path(copied.settings.observations)) as store:
        id = next(iter(held.round.used))
        store.decide(id, "Rev", Action.REJECT, "", store.decisions(id)[-1].number)

    def failing(*_: Any) -> None:
        raise GateError("onnx:fp32 diverges")

    done = turn(copied.folder, copied.settings, failing)
    assert done.round and (done.round.outcome, done.sentence) == (Outcome.FAILED, "Hold: onnx:fp32 diverges")
    assert done.round.number == 2
    found = standing(Path(copied.settings.releases), Path(copied.settings.key))
    assert found and found.model.fingerprint == read_bundle(Path(copied.settings.run) / "student").fingerprint


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_round_that_cannot_go_on_is_ended_and_its_observations_are_tried_again(copied: Copy) -> None:
    with pytest.raises(KeyboardInterrupt):
        turn(copied.folder, copied.settings, interrupted)
    shutil.rmtree(copied.folder.run(1))
    done = copied.turn()
    state = copied.folder.read()
    assert state and [each.outcome for each in state.rounds] == [Outcome.FAILED, Outcome.SHIPPED]
    assert state.rounds[0].sentence == "Hold: its folder was removed."
    assert done.round and done.round.number == 2 and published(copied) == fingerprint(copied.made)


def test_an_open_round_ends_where_phones_have_another_model_by_now(copied: Copy) -> None:
    copied.turn()
    with opened(Path(copied.settings.observations)) as store:
        state = copied.folder.read()
        assert state
        id = next(iter(state.rounds[0].used))
        store.decide(id, "Rev", Action.REJECT, "", store.decisions(id)[-1].number)
    with pytest.raises(KeyboardInterrupt):
        turn(copied.folder, copied.settings, interrupted)
    rollback(Path(copied.settings.releases), Path(copied.settings.key))
    copied.turn()
    state = copied.folder.read()
    assert state and state.rounds[1].sentence == "Hold: phones had another model before it ended."
    assert state.rounds[2].champion == copied.settings.run


def test_what_was_published_and_rolled_back_is_not_published_again(copied: Copy) -> None:
    """As if the first call had been killed right after it published."""
    done = copied.turn()
    assert done.round
    copied.folder.write(
        replace(done.state, rounds=(replace(done.round, outcome=Outcome.OPEN, ended="", release=None),))
    )
    rollback(Path(copied.settings.releases), Path(copied.settings.key))
    again = copied.turn()
    assert again.round and (again.round.outcome, again.round.release) == (Outcome.SHIPPED, 2)
    assert published(copied) == fingerprint(copied.settings.run)


def test_a_class_that_phones_know_does_not_go_with_its_observations(copied: Copy) -> None:
    copied.turn()
    with opened(Path(copied.settings.observations)) as store:
        for id, decision in list(store.decided()):
            if decision.action is Action.RELABEL:
                store.decide(id, "Rev", Action.REJECT, "", store.decisions(id)[-1].number)
    with pytest.raises(InputError, match=f"no training photo of its class '{NEW}' would be left"):
        copied.turn()


def test_a_target_that_phones_have_is_not_left_out(copied: Copy) -> None:
    copied.turn()
    with pytest.raises(InputError, match="phones have onnx:fp32 too"):
        copied.turn(targets=("litert:fp32",))


def test_bad_input_publishes_nothing(copied: Copy, second: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"other\.pem"):
        copied.turn(key=str(tmp_path / "other.pem"))
    with pytest.raises(InputError, match="--primary onnx:fp16: none of the files"):
        copied.turn(primary="onnx:fp16")
    with pytest.raises(InputError, match="--primary: needs --margin"):
        copied.turn(primary="onnx:fp32", margin=0.0)
    with pytest.raises(InputError, match="no finished run"):
        copied.turn(run=str(tmp_path / "none"))
    assert not (tmp_path / "site").exists() and not copied.folder.state.exists()
    copied.turn()
    current = tmp_path / "site" / "current.json"
    before = current.read_bytes()
    current.write_bytes(before.replace(b"a", b"b"))
    with pytest.raises(InputError):
        copied.turn()
    current.write_bytes(before)
    with copied.folder.alone(), pytest.raises(InputError, match="another `attar loop` is running here"):
        copied.turn()
    stranger = LoopFolder(tmp_path / "plants")
    with pytest.raises(InputError, match="not empty, and not a loop of attar"):
        turn(stranger, copied.settings, giving(second))
    copied.folder.state.write_text(copied.folder.state.read_text().replace("0.4", "0.5"))
    with pytest.raises(InputError, match="damaged or edited"):
        copied.turn()


DEATHS = int(os.environ.get("ATTAR_DEATHS", "2"))


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_and_the_end_is_the_same(copied: Copy, tmp_path: Path) -> None:
    """Training is what the first round gave, and all else is real; tests of runs kill training."""
    draw = random.Random(0)
    with opened(Path(copied.settings.observations)) as store:
        before = [str(each.observation.id) for each in store.observations()]
    began = time.monotonic()
    whole = copied.turn()
    took = time.monotonic() - began
    for death in range(DEATHS):
        again = replace(copied, folder=LoopFolder(tmp_path / f"loop {death}"))
        again.settings = replace(
            copied.settings, releases=str(tmp_path / f"site {death}"), key=str(tmp_path / f"{death}.pem")
        )
        create(Path(again.settings.key))
        words = [
            sys.executable,
            "-m",
            "helpers.looping",
            again.folder.path,
            json.dumps(asdict(again.settings)),
            again.made,
        ]
        environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout and process.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0, took))
            process.kill()
        found = published(again)
        assert found in (None, *map(fingerprint, (again.settings.run, again.made)))
        again.turn()
        state = again.folder.read()
        assert state and [each.outcome for each in state.rounds] == [Outcome.SHIPPED]
        assert whole.round and state.rounds[0].used == whole.round.used and state.rounds[0].release == 2
        assert published(again) == fingerprint(again.made)
        with opened(Path(copied.settings.observations)) as store:
            assert [str(each.observation.id) for each in store.observations()] == before


def published(copied: Copy) -> str | None:
    """What phones have, all of it checked; None if nothing is published."""
    if not (Path(copied.settings.releases) / "current.json").exists():
        return None
    _, found = status(Path(copied.settings.releases))
    return found["stable"].model.fingerprint


def fingerprint(run: Path | str) -> str:
    return read_bundle(Path(run) / "student").fingerprint
