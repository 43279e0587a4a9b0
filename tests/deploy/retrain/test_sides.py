"""People and places stand on one side of the split."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from attar.deploy.retrain.candidates import Candidate
from attar.deploy.retrain.sides import TRAIN, VAL, sides
from helpers.field import candidate


@st.composite
def fields(draw: st.DrawFn) -> list[Candidate]:
    people = draw(st.integers(1, 8))
    places = draw(st.integers(1, 12))
    sent = draw(st.lists(st.tuples(st.integers(0, people), st.integers(0, places)), min_size=1, max_size=60))
    return [
        candidate(n, f"person {who}" if who else "", (float(at), 0.0) if at else None)
        for n, (who, at) in enumerate(sent)
    ]


@given(fields(), st.integers(0, 5), st.floats(0.05, 0.6))
def test_nobody_and_no_place_is_on_both_sides(kept: list[Candidate], seed: int, fraction: float) -> None:
    side, left, by_place = sides(kept, {}, val_fraction=fraction, seed=seed)
    assert {each.id for each in kept} == set(side) | {each.id for each in left}
    of_person, of_place = defaultdict(set), defaultdict(set)
    for each in kept:
        if each.id in side:
            of_person[each.contributor or each.id].add(side[each.id])
            of_place[each.place].add(side[each.id])
    assert all(len(found) == 1 for found in of_person.values())
    if by_place:
        assert all(len(found) == 1 for place, found in of_place.items() if place)
        assert not left  # all are new, so whole groups were divided
    assert TRAIN in side.values()


@given(fields(), fields(), st.integers(0, 5))
def test_what_an_earlier_round_decided_stands(first: list[Candidate], second: list[Candidate], seed: int) -> None:
    before, _, _ = sides(first, {}, val_fraction=0.3, seed=seed)
    old = [each for each in first if each.id in before]
    new = [Candidate(f"new-{each.id}", each.photo, each.path, "ash", each.contributor, each.place) for each in second]
    side, _, by_place = sides(old + new, before, val_fraction=0.3, seed=seed)
    assert {id: side[id] for id in before} == before
    people = defaultdict(set)
    for each in old:
        people[each.contributor].add(before[each.id])
    for each in new:
        if each.id in side and each.contributor and each.contributor in people:
            assert side[each.id] in people[each.contributor]
    if by_place:
        held = {each.place for each in old if before[each.id] == VAL and each.place}
        assert not any(side.get(each.id) == TRAIN and each.place in held for each in new)


def test_where_one_town_connects_everybody_people_are_divided_and_places_are_not() -> None:
    kept = [candidate(n, f"person {n % 4}", (50.0, 8.0)) for n in range(40)]
    side, left, by_place = sides(kept, {}, val_fraction=0.25, seed=0)
    assert not by_place and not left
    assert list(side.values()).count(VAL) == 10


def test_one_person_alone_is_trained_on() -> None:
    side, _, _ = sides([candidate(n, "Ana") for n in range(9)], {}, val_fraction=0.5, seed=0)
    assert set(side.values()) == {TRAIN}


def test_one_photo_from_elsewhere_does_not_undo_the_split_of_a_town() -> None:
    town = [candidate(n, f"person {n % 8}", (50.0, 8.0)) for n in range(200)]
    kept = [*town, candidate(500, "tourist", (1.0, 1.0))]
    side, left, by_place = sides(kept, {}, val_fraction=0.25, seed=0)
    assert not by_place and not left
    assert 30 <= list(side.values()).count(VAL) <= 70


def test_a_place_that_is_on_both_sides_already_holds_nothing_back() -> None:
    town = [candidate(n, f"person {n % 4}", (50.0, 8.0)) for n in range(40)]
    before, _, _ = sides(town, {}, val_fraction=0.25, seed=0)
    more = [candidate(100 + n, f"person {n % 4}", (50.0, 8.0)) for n in range(4)]
    far = [candidate(200 + n, f"traveller {n}", (float(n), 1.0)) for n in range(40)]
    side, left, _ = sides([*town, *more, *far], before, val_fraction=0.25, seed=0)
    assert not left
    assert all(side[each.id] == before[f"id-{int(each.id[3:]) % 4}"] for each in more)


def test_whose_photos_were_shown_without_labels_is_not_held_out() -> None:
    kept = [candidate(n, ("Ana", "Ben", "Cleo")[n % 3], (float(n % 3), 0.0)) for n in range(12)]
    shown = [candidate(100, "Ana")]
    beside = [candidate(101, "Eve", (1.0, 0.0))]  # where Ben's photos are

    def held(seed: int, trained: list[Candidate]) -> set[str]:
        side, _, by_place = sides(kept, {}, val_fraction=0.34, seed=seed, trained=trained)
        assert by_place
        return {each.contributor for each in kept if side.get(each.id) == VAL}

    plain = [held(seed, []) for seed in range(8)]
    assert {"Ana"} in plain and {"Ben"} in plain
    assert not any("Ana" in held(seed, shown) for seed in range(8))
    assert not any("Ben" in held(seed, beside) for seed in range(8))
