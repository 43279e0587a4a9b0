"""A reviewer gives photos of earlier rounds a new class: another name for one that phones know, or really a new one.

The photos are digits. The earlier round learned from ones as ones, and from fours as what people took them for.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from attar.data.photos import DataSpec, Photos, read_photos
from attar.deploy.collect.store import Store, opened
from attar.deploy.retrain.candidates import Reason, candidates
from attar.deploy.retrain.gather import Gathered, Rules, gather
from attar.deploy.retrain.plan import ask_reviewers
from attar.deploy.retrain.snapshot import Used, write_snapshot
from attar.runfolder import RunFolder
from helpers.field import Field, as_sent, divided
from helpers.small import make_student

CLASSES = ("0", "1", "2")
SENT = 12
"""Photos of ones, and as many of fours."""


@dataclass
class World:
    """A folder of `attar collect`, the earlier round's run, and the ids of ones and fours among its photos."""

    people: Path
    base: Path
    run: RunFolder
    ones: list[str]
    fours: list[str]

    @property
    def photos(self) -> Photos:
        """What the earlier round learned from."""
        return read_photos(DataSpec(str(self.base), added=str(self.run.observations)))

    def relabel(self, ids: Sequence[str], label: str) -> None:
        """As a reviewer does."""
        with opened(self.people) as store:
            for id in ids:
                Field(store, CLASSES).accept(id, label)

    def gathered(self) -> Gathered:
        """What the next round would learn from. Nobody sends anything more."""
        rules = Rules(share=1, unreviewed=True)
        with opened(self.people) as store:
            return gather(store, self.run, self.photos, rules, val_fraction=0.25, seed=0)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("earlier")
    base, new = divided(folder, [*CLASSES, "4"], own=SENT, new=SENT)
    shutil.rmtree(base / "4")
    world = World(folder / "people", base, RunFolder(folder / "run"), [], [])
    with opened(world.people, create=True) as store:
        world.ones, world.fours = _sent(store, new)
        learned = candidates(store, CLASSES, unreviewed=True)[0]
    write_snapshot(world.run.observations, [Used(each, "train") for each in learned])
    make_student("lcnet_035", world.photos, world.run.student)
    return world


def _sent(store: Store, photos: Sequence[tuple[Path, str]]) -> tuple[list[str], list[str]]:
    """Ana sends ones and says so; Ben sends fours and says anything -> the ids of both."""
    field, ones, fours = Field(store, CLASSES), [], []
    for who in ("Ana", "Ben"):
        store.invite(who)
    for path, label in photos:
        if label == "1":
            ones.append(field.send(as_sent(path), "Ana", "1"))
        elif label == "4":
            fours.append(field.send(as_sent(path), "Ben", CLASSES[len(fours) % 3]))
    return ones, fours


@pytest.fixture
def world(earlier: World, tmp_path: Path) -> World:
    """Nobody has reviewed anything yet."""
    return replace(earlier, people=Path(shutil.copytree(earlier.people, tmp_path / "people")))


def test_a_class_under_another_name_is_held_back_until_a_reviewer_decides_again(world: World) -> None:
    world.relabel(world.ones, "uno")
    found = world.gathered()
    assert {each.id: (each.reason, each.detail) for each in found.left} == dict.fromkeys(
        world.ones, (Reason.RENAMED, "uno: 1")
    )
    assert found.gone == {*world.ones} and {each.candidate.label for each in found.used} == {*CLASSES}
    ask_reviewers(found, world.people)
    world.relabel(world.ones, "uno")
    again = world.gathered()
    assert again.relabelled == {*world.ones} and not again.left


def test_a_new_class_among_photos_of_earlier_rounds_is_taken(world: World) -> None:
    world.relabel(world.fours, "4")
    found = world.gathered()
    assert found.opinion is not None and not found.left and not found.gone
    assert found.relabelled == {*world.fours}
    assert {each.candidate.label for each in found.used if each.candidate.id in world.fours} == {"4"}
