"""Which observations have a label to learn from, and why the others have not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from attar.deploy.collect.reviewed import reviewed
from attar.deploy.collect.store import Action, opened
from attar.deploy.retrain.candidates import LeftOut, Reason, candidates, of_new_classes, proposals
from attar.deploy.review.queue import Queue, State
from helpers.field import Field
from helpers.observed import jpeg

LABELS = ("ash", "elm")


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    with opened(tmp_path / "plants", create=True) as store:
        for name in ("Ana", "Ben"):
            store.invite(name)
        yield Field(store, LABELS)


def reasons(left: list[LeftOut]) -> dict[str, Reason]:
    return {each.id: each.reason for each in left}


def test_what_reviewers_accepted_or_relabelled_is_taken(field: Field) -> None:
    accepted, relabelled = field.send(jpeg(1), "Ana", "ash"), field.send(jpeg(2), "Ben", "elm", predicted="ash")
    field.accept(accepted)
    field.accept(relabelled, "oak")
    kept, left = candidates(field.store, LABELS)
    assert [(each.id, each.label, each.contributor) for each in kept] == [
        (accepted, "ash", "Ana"),
        (relabelled, "oak", "Ben"),
    ]
    assert not left
    assert kept[0].path.read_bytes() == jpeg(1)


def test_everything_else_says_why_not(field: Field) -> None:
    ids = [field.send(jpeg(n), "Ana", "ash") for n in range(3)]
    rejected, open_one, withdrawn = ids
    field.store.decide(rejected, "Rev", Action.REJECT)
    field.accept(withdrawn)
    foreign = field.send(jpeg(3), "Ana", "pine", predicted="pine")
    field.accept(foreign)
    unnamed = field.send(jpeg(4), "Ana", "something")
    field.accept(unnamed)
    kept, left = candidates(field.store, LABELS, without=[withdrawn])
    assert not kept
    assert reasons(left) == {
        rejected: Reason.REJECTED,
        open_one: Reason.NOT_REVIEWED,
        withdrawn: Reason.WITHDRAWN,
        foreign: Reason.OTHER_LABELS,
        unnamed: Reason.NO_LABEL,
    }
    kept, _ = candidates(field.store, LABELS, without=[withdrawn], unreviewed=True)
    assert [(each.id, each.reviewed) for each in kept] == [(open_one, False)]


def test_a_doubt_stands_until_a_reviewer_decides_again(field: Field) -> None:
    id = field.send(jpeg(1), "Ana", "ash")
    field.accept(id)
    assert field.store.doubt(id, "the teacher says elm")
    assert not field.store.doubt(id, "the teacher says elm")  # asked already
    assert reasons(candidates(field.store, LABELS)[1]) == {id: Reason.DOUBTED}
    field.accept(id)
    kept, _ = candidates(field.store, LABELS)
    assert [each.settled for each in kept] == [True]


def test_an_answer_to_a_doubt_that_is_taken_back_is_none(field: Field) -> None:
    id = field.send(jpeg(1), "Ana", "ash")
    field.accept(id)
    field.store.doubt(id, "the teacher says elm")
    field.store.decide(id, "Rev", Action.REJECT, seen=1)
    field.store.decide(id, "Rev", Action.UNDO, seen=2)
    assert reasons(candidates(field.store, LABELS)[1]) == {id: Reason.DOUBTED}
    queue = Queue(field.store)
    queue.refresh()
    assert [each["doubt"] for each in queue.page(State.OPEN, 9)] == ["the teacher says elm"]


def test_classes_that_people_name_are_proposed_and_no_vandal_proposes_one_alone(field: Field) -> None:
    for n in range(4):
        field.send(jpeg(n), "Ana" if n % 2 else "Ben", "A  Fern" if n else "a fern")
        field.send(jpeg(20 + n), "Ben", "nonsense")
    field.send(jpeg(0), "Ana", "a fern")  # the same photo counts once
    (found,) = proposals(reviewed(field.store), LABELS, photos=4)
    assert (found.name, found.photos, found.contributors) == ("A  Fern", 4, 2)
    assert not proposals(reviewed(field.store), LABELS, photos=5)
    assert not proposals(reviewed(field.store), [*LABELS, "A fern"], photos=4), "the model has it by now"


def test_a_new_class_needs_photos(field: Field) -> None:
    for n in range(3):
        field.accept(field.send(jpeg(n), "Ana", "ash"), "oak")
    kept, _ = candidates(field.store, LABELS)
    assert not of_new_classes(kept, LABELS, 3)
    assert [each.detail for each in of_new_classes(kept, LABELS, 4)] == ["oak: 3 of 4"] * 3
