"""The same photo twice: what contradicts itself is an alarm, and what rounding or a place explains is none."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import combinations, count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.data.observations import Observation, read_observation
from attar.deploy.drift.same_photo import TOLERANCE, apart, same_photos
from helpers.observed import observation_of

NUMBERS = count()


def said(label: str, probability: float, photo: bytes = b"photo", model: str = "a", **more: Any) -> Observation:
    moment = (datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=next(NUMBERS))).isoformat()
    plain = observation_of(photo, predicted=label, probability=probability, model=64 * model, time=moment)
    return read_observation({**plain, "with_geo": False, "contributor": "Ana", **more}, "made")


def test_one_file_that_contradicts_itself_is_an_alarm() -> None:
    found = same_photos([said("ash", 0.9, backend="litert webgpu"), said("elm", 0.8), said("fir", 0.5, b"other")])
    [alarm] = found.alarms
    assert (alarm.one.predicted, alarm.other.predicted, found.repeated) == ("ash", "elm", 1)
    assert alarm.apart == pytest.approx(0.7)  # the second left ash at most 0.2


def test_probabilities_within_the_tolerance_agree_and_beyond_it_do_not() -> None:
    assert not same_photos([said("ash", 0.5), said("ash", 0.5 + TOLERANCE - 0.001)]).alarms
    [alarm] = same_photos([said("ash", 0.5), said("ash", 0.52), said("ash", 0.5 + TOLERANCE + 0.001)]).alarms
    assert alarm.apart == pytest.approx(TOLERANCE + 0.001)
    assert not same_photos([said("ash", 0.5), said("ash", 0.7)], tolerance=0.25).alarms


def test_two_labels_that_may_be_nearly_as_likely_are_a_tie_and_no_alarm() -> None:
    found = same_photos([said("ash", 0.46), said("elm", 0.45)])
    assert not found.alarms and len(found.ties) == 1
    assert same_photos([said("ash", 0.46), said("elm", 0.38)]).alarms  # then ash had at most 0.38
    assert same_photos([said("ash", 0.6), said("elm", 0.55)]).alarms  # then ash had at most 0.45


def test_a_label_that_place_and_season_chose_is_held_to_its_probability_alone() -> None:
    alone, placed = said("ash", 0.6), said("elm", 0.3, with_geo=True)
    assert not same_photos([alone, placed]).alarms  # ash may have had 0.6 there too
    assert same_photos([alone, said("elm", 0.5, with_geo=True)]).alarms  # 1.1 in all
    assert same_photos([said("ash", 0.6), said("ash", 0.5, with_geo=True)]).alarms
    before = said("elm", 0.3, with_geo=None)  # of a phone that does not say
    assert not same_photos([alone, before]).alarms


def test_versions_that_differ_are_counted_and_no_alarm() -> None:
    first = [said("ash", 0.9, bytes([number])) for number in range(10)]
    later = [said("ash" if number < 7 else "elm", 0.9, bytes([number]), "b", contributor="Ben") for number in range(10)]
    found = same_photos([*first, *later, said("elm", 0.9, b"only here", "b")])
    assert not found.alarms and not found.repeated
    [churn] = found.churn
    assert (churn.before, churn.now, churn.photos) == (64 * "a", 64 * "b", 10)
    assert churn.differ.value == pytest.approx(0.3) and churn.differ.low is None
    assert [pair.other.predicted for pair in churn.pairs] == ["elm"] * 3
    placed = [said("elm", 0.9, bytes([number]), "b", with_geo=True) for number in range(10)]
    assert not same_photos([*first, *placed]).churn


probabilities = st.lists(st.floats(0.01, 1), min_size=3, max_size=5).map(lambda drawn: np.array(drawn) / sum(drawn))


@settings(deadline=None)  # the machine may be busy
@given(probabilities, st.lists(st.floats(-TOLERANCE / 2, TOLERANCE / 2), min_size=5, max_size=5), st.booleans())
def test_answers_of_one_function_within_the_tolerance_are_never_an_alarm(
    truth: np.ndarray, noise: list[float], placed: bool
) -> None:
    """Two runs, each off by at most half the tolerance; in one, place and season may choose any label."""
    names = ["ash", "elm", "fir", "oak", "yew"]
    other = np.clip(truth + np.array(noise[: len(truth)]), 0, None)
    other = other / other.sum() if other.sum() > 1 else other
    one, label = int(truth.argmax()), len(truth) - 1 if placed else int(other.argmax())
    pair = said(names[one], float(truth[one])), said(names[label], float(other[label]), with_geo=placed)
    assert apart(*pair) <= np.abs(truth - other).max() + 1e-9 and apart(*pair) == apart(*pair[::-1])


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 2**32 - 1))
def test_order_changes_only_which_answer_is_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = [
        said(str(rng.choice(["ash", "elm"])), round(float(rng.uniform(0.5, 1)), 2), bytes([rng.integers(3)]))
        for _ in range(8)
    ]
    shuffled = [made[number] for number in rng.permutation(8)]
    one, other = same_photos(made), same_photos(shuffled)
    assert [pair.apart for pair in one.alarms] == [pair.apart for pair in other.alarms]
    assert {pair.image for pair in one.alarms} == {pair.image for pair in other.alarms}


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1), st.booleans()), min_size=2, max_size=7))
def test_no_two_answers_are_farther_apart_than_what_is_told(drawn: list[tuple[str, float, bool]]) -> None:
    made = [said(label, share, with_geo=placed) for label, share, placed in drawn]
    found = same_photos(made, tolerance=-1.0).alarms  # then everything is one
    assert [pair.apart for pair in found] == [max(apart(*pair) for pair in combinations(made, 2))]


def test_thousands_of_answers_to_one_photo_are_read_in_a_moment() -> None:
    one = said("ash", 0.5)
    made = [one.model_copy(update={"predicted": f"label {number}", "probability": 0.3}) for number in range(20_000)]
    began = time.process_time()
    same_photos([one, *made])
    assert time.process_time() - began < 5
