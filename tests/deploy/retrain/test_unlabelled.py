"""Photos that nobody has reviewed, as photos without labels. The photos are digits, the people made up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from attar.data.observations import Place
from attar.data.photos import DataSpec, Photos, read_photos
from attar.deploy.collect.store import Action, opened
from attar.deploy.retrain import gather as gathering
from attar.deploy.retrain.candidates import Reason
from attar.deploy.retrain.gather import Gathered, Rules, gather
from attar.deploy.retrain.snapshot import Used, read_snapshot, write_snapshot
from attar.deploy.retrain.unlabelled import require_teacher_alone
from attar.errors import InputError
from attar.files import write_sealed, write_text
from attar.provenance import provenance
from attar.recipe import Recipe, write_recipe
from attar.runfolder import RunFolder
from helpers.field import Field, as_sent, divided

RULES = Rules(share=0.5, unlabelled=True)


@dataclass
class World:
    field: Field
    photos: Photos
    run: RunFolder
    new: list[tuple[Path, str]]

    def gathered(self, rules: Rules = RULES) -> Gathered:
        return gather(self.field.store, self.run, self.photos, rules, val_fraction=0.25, seed=0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A run of two classes without its models: no label is doubted here."""
    base, new = divided(tmp_path, ("0", "1"), own=12, new=12)
    monkeypatch.setattr(gathering, "opinion", lambda *_: None)
    with opened(tmp_path / "people", create=True) as store:
        for name in ("Ana", "Ben", "Cleo", "Dan"):
            store.invite(name)
        field = Field(store, ("0", "1"))
        yield World(field, read_photos(base), RunFolder(tmp_path / "run"), new)


def reasons(found: Gathered) -> dict[str, Reason]:
    return {each.id: each.reason for each in found.left}


def test_an_unreviewed_photo_is_taken_and_its_label_is_not(world: World, tmp_path: Path) -> None:
    (path, label), (other, _) = world.new[:2]
    wrong = world.field.send(as_sent(path), "Ana", "1" if label == "0" else "0")
    rejected = world.field.send(as_sent(other), "Ana", "0")
    world.field.store.decide(rejected, "Rev", Action.REJECT)
    found = world.gathered()
    assert [(each.id, each.label) for each in found.unlabelled] == [(wrong, "")] and not found.used
    assert reasons(found) == {rejected: Reason.REJECTED}
    assert found.new == {wrong} and found.to_json()["unlabelled"] == [wrong]
    assert reasons(world.gathered(Rules()))[wrong] is Reason.NOT_REVIEWED
    write_snapshot(tmp_path / "snapshot", [Used(each, "train") for each in found.unlabelled])
    assert [each.candidate.label for each in read_snapshot(tmp_path / "snapshot")] == [""]


def test_what_is_withdrawn_is_left_out_also_of_what_a_run_was_shown(world: World) -> None:
    ids = [world.field.send(as_sent(path), "Ana", label) for path, label in world.new[:2]]
    assert reasons(world.gathered(replace(RULES, without=(ids[0],)))) == {ids[0]: Reason.WITHDRAWN}
    found = world.gathered()
    write_snapshot(world.run.unlabelled, [Used(each, "train") for each in found.unlabelled])
    again = world.gathered()
    assert not again.new and not again.gone and len(again.unlabelled) == 2
    again = world.gathered(replace(RULES, without=(ids[0],)))
    assert again.gone == {ids[0]} and [each.id for each in again.unlabelled] == [ids[1]]


def test_nothing_that_resembles_held_out_photos_is_shown(world: World) -> None:
    send, new = world.field.send, world.new
    copy = send(as_sent(world.photos.val[0].path, quality=60), "Ana", "0")
    for path, label in new[:8]:
        world.field.accept(send(as_sent(path), "Ben" if path in [each for each, _ in new[:4]] else "Cleo", label))
    found = world.gathered()
    (held,) = {each.candidate.contributor for each in found.used if each.side == "val"}
    write_snapshot(world.run.observations, found.used)  # so that sides stay
    theirs = send(as_sent(new[8][0]), held, "0")
    at_place = Place(latitude=1, longitude=2)
    assert reasons(world.gathered())[copy] is Reason.NEAR_VALIDATION
    assert reasons(world.gathered())[theirs] is Reason.HELD_OUT_PERSON
    world.field.accept(send(as_sent(new[9][0]), held, new[9][1], at_place))
    beside = send(as_sent(new[10][0]), "Dan", "0", at_place)
    assert reasons(world.gathered())[beside] is Reason.OTHER_SIDE


def test_what_a_student_was_shown_is_never_held_out(world: World) -> None:
    ids = [world.field.send(as_sent(path), "Ana", label) for path, label in world.new[:4]]
    write_snapshot(world.run.unlabelled, [Used(each, "train") for each in world.gathered().unlabelled])
    for id in ids[:2]:
        world.field.accept(id)
    for path, label in world.new[4:16]:
        world.field.accept(world.field.send(as_sent(path), "Ben" if label == "0" else "Ana", label))
    found = world.gathered()
    sides = {each.candidate.contributor: each.side for each in found.used}
    assert sides["Ana"] == "train" and set(ids[:2]) <= found.new


def test_nobody_brings_more_than_a_share_with_and_without_labels(world: World) -> None:
    ids = [world.field.send(as_sent(path), "Ana", label) for path, label in world.new[:12]]
    found = world.gathered(replace(RULES, share=0.2))
    # 24 photos of the run's own: 6 is a fifth of 30.
    assert len(found.unlabelled) == 6
    assert list(reasons(found).values()) == [Reason.TOO_MANY] * 6 and set(reasons(found)) < set(ids)


def test_the_two_ways_with_unreviewed_photos_exclude_each_other(world: World) -> None:
    with pytest.raises(InputError, match="--unreviewed and --unlabelled: give one"):
        world.gathered(replace(RULES, unreviewed=True))


def a_run(folder: Path, taught: bool, **student: Any) -> RunFolder:
    run = RunFolder(folder)
    values: dict[str, Any] = {"student": {"name": "mobilenetv4_conv_small_035", **student}}
    recipe = Recipe.model_validate(values if taught else {**values, "teacher": None})
    write_text(run.recipe, write_recipe(recipe, []))
    if taught:
        write_text(run.teacher / "bundle.json", "{}")
    return run


def test_a_run_that_cannot_learn_without_labels_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one has no teacher, which alone could say .* Leave it out"):
        require_teacher_alone(a_run(tmp_path / "one", taught=False), [])
    reads = a_run(tmp_path / "two", taught=True)
    with pytest.raises(InputError, match=r"weight 0\.3, .* Add --set student\.label_weight=0"):
        require_teacher_alone(reads, [])
    require_teacher_alone(reads, ["student.label_weight=0"])


def test_they_are_read_as_photos_without_labels_and_named_in_the_provenance(world: World, tmp_path: Path) -> None:
    path, label = world.new[0]
    id = world.field.send(as_sent(path), "Ana", "1" if label == "0" else "0")
    write_snapshot(world.run.unlabelled, [Used(each, "train") for each in world.gathered().unlabelled])
    own = tmp_path / "more"
    own.mkdir()
    (own / "one.jpg").write_bytes(as_sent(world.new[1][0]))
    spec = DataSpec(world.photos.spec.path, added_unlabelled=str(world.run.unlabelled), unlabelled=str(own))
    photos = read_photos(spec)
    assert [(each.path.name, each.label) for each in photos.unlabelled] == [("one.jpg", -1), (f"{id}.jpg", -1)]
    assert (photos.fingerprint, photos.labels) == (world.photos.fingerprint, world.photos.labels)
    assert read_photos(replace(spec, added_unlabelled=None)).unlabelled_fingerprint != photos.unlabelled_fingerprint
    about = provenance(photos, 0, {})["data"]
    assert about["added_unlabelled_photos"] == [f"unlabelled/photos/{id}.jpg"]
    assert "added_photos" not in about and about["unlabelled"]["photos"] == 2


def test_what_was_learned_with_a_label_may_be_shown_without_it(world: World) -> None:
    """Also where the run's list has it, as that of every run of `attar retrain` does."""
    ids = [world.field.send(as_sent(path), "Ana", label) for path, label in world.new[:4]]
    used = world.gathered(Rules(share=0.5, unreviewed=True)).used
    world.run.path.mkdir()
    write_snapshot(world.run.observations, [replace(each, side="train") for each in used])
    world.photos = read_photos(DataSpec(world.photos.spec.path, added=str(world.run.observations)))
    found = world.gathered()
    assert {each.id for each in found.unlabelled} == {*ids} and not found.gone and not found.left


def test_what_an_earlier_round_trained_on_is_not_held_out_by_a_later_one(world: World) -> None:
    ids = [world.field.send(as_sent(path), "Ana", label) for path, label in world.new[:4]]
    first = world.gathered()
    assert first.to_json()["trained"] == sorted(ids)
    # The next round had none of them, as after --only-reviewed; its weights still come from the first one.
    write_sealed(world.run.retrain, {**first.to_json(), "train": [], "unlabelled": []})
    for id in ids:
        world.field.accept(id)
    for path, label in world.new[4:16]:
        world.field.accept(world.field.send(as_sent(path), "Ben", label))
    found = world.gathered(Rules(share=0.5))
    assert {each.candidate.contributor: each.side for each in found.used}["Ana"] == "train"
    assert {*ids} <= found.trained


def test_a_run_of_before_says_what_it_trained_on_in_other_words(world: World) -> None:
    write_sealed(world.run.retrain, {"train": ["a"], "val": ["b"]})
    assert world.gathered().trained == {"a"}
