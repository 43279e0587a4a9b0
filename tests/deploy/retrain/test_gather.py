"""What one person can do to the photos: no more than a share of them, and nothing to those of others."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from attar.deploy.retrain.candidates import Reason
from attar.deploy.retrain.gather import _beyond, _copies, _most
from attar.deploy.retrain.opinion import of_contributors
from helpers.field import candidate


@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.integers(0, 500), st.floats(0, 1))
def test_the_share_holds_and_as_many_as_may_be_stay(counts: list[int], others: int, share: float) -> None:
    most = _most(counts, others, share)

    def holds(each: int) -> bool:
        return each <= share * (others + sum(min(count, each) for count in counts))

    assert 1 <= most <= max(counts)
    assert most == 1 or holds(most)
    assert not any(holds(more) for more in range(most + 1, max(counts) + 1))


def test_what_an_earlier_round_used_stays_and_the_rest_is_drawn_the_same_way_each_time() -> None:
    kept = [candidate(n, "Ana" if n % 2 else "Ben") for n in range(40)] + [candidate(100, "")]
    before = {f"id-{n}": "train" for n in (1, 3, 5)}
    left = _beyond(kept, before, others=60, share=0.1)
    gone = {each.id for each in left}
    assert {each.reason for each in left} == {Reason.TOO_MANY}
    assert not gone & {*before, "id-100"}
    stays = [each for each in kept if each.id not in gone]
    assert all(sum(each.contributor == who for each in stays) <= 0.1 * (60 + len(stays)) for who in ("Ana", "Ben"))
    assert _beyond(kept[::-1], before, others=60, share=0.1) != [] and gone == {
        each.id for each in _beyond(kept[::-1], before, others=60, share=0.1)
    }


def test_who_sends_a_photo_again_with_another_label_takes_nothing_away() -> None:
    used, again = candidate(1, "Ana"), replace(candidate(1, "Vandal"), id="again", label="elm", reviewed=False)
    left = {each.id: each.reason for each in _copies([used, again], {used.id: "val"}, {used.photo})}
    assert left == {"again": Reason.TWO_LABELS}
    reviewed = candidate(1, "Ana")
    assert {each.id for each in _copies([reviewed, again], {}, set())} == {"again"}
    both = replace(again, reviewed=True)
    assert {each.id for each in _copies([reviewed, both], {}, set())} == {"again", reviewed.id}
    same = replace(again, label=reviewed.label)
    assert {each.id: each.reason for each in _copies([reviewed, same], {}, set())} == {"again": Reason.KNOWN}
    assert {each.id for each in _copies([reviewed], {}, {reviewed.photo})} == {reviewed.id}


def test_doubts_of_earlier_nights_count_against_who_sent_them() -> None:
    few = [candidate(n, "Vandal") for n in range(4)] + [candidate(n, "Ana") for n in range(10, 20)]
    assert of_contributors(few, {"id-0", "id-1", "id-10"}, {}) == {}
    found = of_contributors(few, {"id-0", "id-1", "id-10"}, {"Vandal": 6})
    assert set(found) == {"id-2", "id-3"} and found["id-2"] == "8 of 10 labels of Vandal are doubted"


def test_who_is_right_mostly_stays_so_however_many_rounds_there_were() -> None:
    """Two of ten doubted in each round: after eight rounds the doubts that wait are more than half of what is new."""
    used = [candidate(n, "Ana") for n in range(64)]
    new = [candidate(n, "Ana") for n in range(100, 110)]
    assert of_contributors(new, {"id-100", "id-101"}, {"Ana": 16}, used) == {}


def test_who_a_reviewer_proved_right_is_right() -> None:
    """The model goes on to doubt what a reviewer has settled."""
    used = [replace(candidate(n, "Ana"), reviewed=False) for n in range(4)]
    settled = [replace(candidate(n, "Ana"), reviewed=True, settled=True) for n in range(100, 104)]
    assert of_contributors(settled, {each.id for each in settled}, {"Ana": 2}, used) == {}
    doubted = [replace(each, settled=False) for each in settled]
    assert len(of_contributors(doubted, {each.id for each in doubted}, {"Ana": 2}, used)) == 4


def test_what_was_learned_from_a_vandal_is_doubted_once_it_shows_unless_somebody_decided_on_it() -> None:
    used = [replace(candidate(n, "Vandal"), reviewed=n == 0) for n in range(4)] + [
        replace(candidate(9, "Ana"), reviewed=False)
    ]
    new = [candidate(n, "Vandal") for n in range(100, 110)]
    found = of_contributors(new, {each.id for each in new[:7]}, {"Vandal": 3}, used)
    assert set(found) == {"id-1", "id-2", "id-3", "id-107", "id-108", "id-109"}
    assert found["id-1"] == "10 of 17 labels of Vandal are doubted"
