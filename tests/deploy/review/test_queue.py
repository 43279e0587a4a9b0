"""What reviewers see first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.benchmarks.predict import Model
from attar.data.observations import Observation, read_observation
from attar.deploy.collect.store import Action, Store, opened
from attar.deploy.review.opinions import ask, name_of
from attar.deploy.review.queue import Queue, State, disagreement
from attar.preprocessing import Preprocessing
from helpers.observed import jpeg, observation_of

SAID = [{"verdict": "confirmed"}, {"verdict": "corrected", "label": "elm"}, {"verdict": "unknown"}]
SAID += [{"verdict": "other", "text": "a fern"}]


def made(photo: bytes, **changes: Any) -> Observation:
    return read_observation(observation_of(photo, contributor="Ana", **changes), "made")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "plants", create=True) as store:
        store.invite("Ana")
        for number, said in enumerate(SAID):
            observation = made(jpeg(number), probability=0.9, **said)
            store.add(observation, jpeg(number), observation.image)
        yield store


def test_disagreement_is_the_mean_over_each_two() -> None:
    photo = jpeg(1)
    confirmed, corrected, unknown, other = (made(photo, probability=0.9, **said) for said in SAID)
    assert [round(disagreement(each), 3) for each in (confirmed, corrected, unknown, other)] == [0.1, 0.9, 0, 0.9]
    sides = [("ash", 0.8), ("elm", 0.15)]  # with the model
    assert disagreement(confirmed, sides) == pytest.approx((0.1 + 0.2 + 0.2) / 3, abs=1e-6)
    assert disagreement(corrected, sides) == pytest.approx((0.9 + 0.2 + 0.85) / 3, abs=1e-6)
    assert disagreement(unknown, sides) == pytest.approx(0.2)
    assert disagreement(other, sides) == pytest.approx((0.9 + 0.2 + 0.8) / 3, abs=1e-6)


@given(
    st.floats(0, 1),
    st.sampled_from(SAID),
    st.dictionaries(st.sampled_from(["ash", "elm", "oak"]), st.floats(0, 1), max_size=3),
)
def test_disagreement_is_between_zero_and_one(sure: float, said: dict[str, Any], teacher: dict[str, float]) -> None:
    total = max(1.0, sum(teacher.values()))
    opinion = [(label, share / total) for label, share in teacher.items()]
    assert 0 <= disagreement(made(b"", probability=sure, **said), opinion) <= 1


def test_the_most_disputed_comes_first_and_decided_ones_leave(store: Store) -> None:
    queue = Queue(store)
    queue.refresh()
    assert [each["verdict"] for each in queue.page(State.OPEN, 9)] == ["corrected", "other", "confirmed", "unknown"]
    first, second = queue.page(State.OPEN, 2)
    store.decide(first["id"], "Ben", Action.RELABEL, "oak", first["seen"])
    store.decide(second["id"], "Ben", Action.REJECT)
    queue.refresh()
    assert queue.counts() == {"open": 2, "decided": 2, "all": 4} and queue.labels["oak"] == 1
    assert [each["id"] for each in queue.page(State.DECIDED, 9)] == [second["id"], first["id"]]
    known = queue.one(first["id"])
    assert known and known["decision"]["label"] == "oak" and known["seen"] > first["seen"]
    store.decide(first["id"], "Eva", Action.UNDO, seen=known["seen"])
    queue.refresh()
    assert queue.counts()["open"] == 3 and queue.page(State.OPEN, 1)[0]["decision"] is None
    assert [each["reviewer"] for each in queue.page(State.OPEN, 1)[0]["decisions"]] == ["Ben", "Eva"]


def test_what_comes_later_is_seen_with_its_opinion(store: Store) -> None:
    asked: list[int] = []

    def answer(pixels: np.ndarray) -> np.ndarray:
        asked.append(len(pixels))
        return np.tile(np.float32([0.1, 0.9]), (len(pixels), 1))

    model = Model("teacher", ("ash", "elm"), Preprocessing(32), answer)
    name = name_of(model, "weights")
    queue = Queue(store, name)
    queue.refresh()
    assert queue.page(State.OPEN, 1)[0]["teacher"] == []
    assert ask(store, model, name) == 4 and ask(store, model, name) == 0
    late = made(jpeg(9), probability=0.99)
    store.add(late, jpeg(9), late.image)
    queue.refresh()
    assert ask(store, model, name) == 1 and asked == [4, 1]
    queue.refresh()
    order = [(each["verdict"], round(each["disagreement"], 3)) for each in queue.page(State.OPEN, 9)]
    assert order[:3] == [("unknown", 0.9), ("other", 0.9), ("confirmed", 0.633)]
    assert queue.page(State.ALL, 9)[0]["teacher"] == [["elm", pytest.approx(0.9)], ["ash", pytest.approx(0.1)]]
    assert name != name_of(model, "other weights")


def test_a_photo_that_is_gone_is_nobodys_opinion_and_is_asked_once(store: Store) -> None:
    store.photo(next(store.observations()).photo).unlink()
    model = Model("teacher", ("ash",), Preprocessing(32), lambda pixels: np.ones((len(pixels), 1), np.float32))
    assert ask(store, model, "t") == 4 and ask(store, model, "t") == 0
    assert sorted(len(opinion) for _, _, opinion in store.opinions("t")) == [0, 1, 1, 1]


def test_a_doubted_label_is_open_again_and_first_until_somebody_decides(store: Store) -> None:
    queue = Queue(store)
    ids = [str(each.observation.id) for each in store.observations()]
    quiet = ids[2]  # nobody disagrees about it
    store.decide(quiet, "Ben", Action.ACCEPT)
    queue.refresh()
    assert quiet not in [each["id"] for each in queue.page(State.OPEN, 9)]
    store.doubt(quiet, "the teacher says elm")
    queue.refresh()
    first = queue.page(State.OPEN, 9)[0]
    assert (first["id"], first["doubt"], first["seen"]) == (quiet, "the teacher says elm", 1)
    assert queue.counts() == {"open": 4, "decided": 0, "all": 4}
    store.decide(quiet, "Ben", Action.ACCEPT, seen=1)
    queue.refresh()
    assert [each["doubt"] for each in queue.page(State.ALL, 9)] == [""] * 4
    assert queue.counts()["decided"] == 1
