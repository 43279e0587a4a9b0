"""Nobody brings more than a share of all photos."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attar.deploy.retrain.candidates import Reason
from attar.deploy.retrain.gather import _beyond, _most
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
