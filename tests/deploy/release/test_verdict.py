"""Verdicts from answers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from attar.deploy.release.verdict import (
    GUARD,
    Calibration,
    Limits,
    Paired,
    Verdict,
    calibration_of,
    judge,
    labels_check,
    latency_check,
    size_check,
)
from attar.errors import InputError
from attar.metrics import calibration_change, error_of_confidence

LEVEL = 0.0025


def paired(both: int = 0, won: int = 0, lost: int = 0, neither: int = 0, label: str = "ash") -> Paired:
    """So many photos of one class, each answered right or wrong by the two."""
    right = [(True, True)] * both + [(False, True)] * won + [(True, False)] * lost + [(False, False)] * neither
    photos = tuple(f"{label}/{number}.jpg" for number in range(len(right)))
    champion, challenger = (tuple(label if each[i] else "other" for each in right) for i in (0, 1))
    return Paired(photos, (label,) * len(right), champion, challenger)


def together(*sets: Paired) -> Paired:
    return Paired(*(sum((getattr(each, name) for each in sets), ()) for name in Paired.__dataclass_fields__))


def found(verdict: Verdict, name: str) -> tuple[bool, str]:
    [check] = [each for each in verdict.checks if each.name == name]
    return check.passed, check.words


def test_a_better_one_ships_and_the_sentence_says_what_it_costs():
    verdict = judge("litert:int8", paired(both=800, won=80, lost=20, neither=100), Limits(), LEVEL)
    assert verdict.ship
    assert verdict.p == pytest.approx(binomtest(80, 100, alternative="greater").pvalue)
    assert verdict.sentence == (
        "Ship: 6.0 points better [+3.3, +9.0]; 20 photos that were right are now wrong; "
        "no class is worse beyond chance."
    )
    assert verdict.top1 == (0.82, 0.88)
    assert [each.photo for each in verdict.flips] == [f"ash/{number}.jpg" for number in range(880, 900)]


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (30, 30), (10, 60), (30, 14)])
def test_what_is_not_shown_to_be_better_is_held(won, lost):
    verdict = judge("f", paired(both=900, won=won, lost=lost), Limits(), LEVEL)
    assert not verdict.ship and verdict.sentence.startswith("Hold: ")
    assert ("which does not show a gain" in verdict.sentence) == (verdict.gain[2] > 0)


def test_the_level_of_the_look_decides():
    answers = paired(both=900, won=40, lost=20)
    p = binomtest(40, 60, alternative="greater").pvalue
    assert judge("f", answers, Limits(), p * 1.001).ship
    assert not judge("f", answers, Limits(), p * 0.999).ship


def test_with_a_margin_as_good_is_enough_if_there_are_photos_for_it():
    answers = paired(both=4000, won=50, lost=50)
    kept = judge("f", answers, Limits(margin=0.02), LEVEL)
    assert kept.ship and "0.0 points better [\N{MINUS SIGN}0.7, +0.7], a loss of 2 points is refuted" in kept.sentence
    few = judge("f", paired(both=90, won=2, lost=2), Limits(margin=0.02), LEVEL)
    assert not few.ship and "94 photos are too few to see that it loses less than 2 points" in few.sentence
    assert str(few.needed) in few.sentence.replace(",", "")
    worse = judge("f", paired(both=4000, won=10, lost=150), Limits(margin=0.02), LEVEL)
    assert worse.sentence == (
        "Hold: 3.4 points worse [\N{MINUS SIGN}4.3, \N{MINUS SIGN}2.6]; worse beyond chance: "
        "ash (4150 of 4160 right before, 4010 now)."
    )


def test_too_few_photos_are_told_with_how_many_are_needed():
    verdict = judge("f", paired(both=45, won=4, lost=1), Limits(), LEVEL)
    assert "50 photos are too few to see a gain of 2 points: about" in verdict.sentence
    assert verdict.needed > 1000
    enough = judge("f", paired(both=9900, won=50, lost=50), Limits(), LEVEL)
    assert "too few" not in enough.sentence and enough.needed == 10000


def test_a_class_that_got_worse_holds_it_back_and_is_named():
    answers = together(paired(both=500, won=100), paired(both=40, lost=12, label="elm"), paired(both=40, label="fir"))
    verdict = judge("f", answers, Limits(), LEVEL)
    assert not verdict.ship
    assert verdict.sentence == "Hold: worse beyond chance: elm (52 of 52 right before, 40 now)."
    assert [part.name for part in verdict.parts if part.worse] == ["elm"]


def test_a_slice_that_got_worse_does_too():
    classes = [f"class {number}" for number in range(12)]
    answers = together(paired(both=500, won=100), *(paired(both=30, lost=1, label=name) for name in classes))
    assert judge("f", answers, Limits(), LEVEL).ship, "no class lost more than one photo"
    dark = [f"{name}/30.jpg" for name in classes]
    verdict = judge(
        "f", answers, Limits(), LEVEL, slices={"dark": dark, "bright": [f"{name}/1.jpg" for name in classes]}
    )
    assert verdict.sentence == "Hold: worse beyond chance: dark (12 of 12 right before, 0 now)."
    assert [part.name for part in verdict.parts if part.kind == "slice"] == ["dark", "bright"]


def test_many_classes_lose_photos_by_chance_and_are_not_called_worse():
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(40):
        sets = [
            paired(both=30, won=int(draw.binomial(10, 0.5)), lost=int(draw.binomial(10, 0.5)), label=f"class {i}")
            for i in range(60)
        ]
        held += not found(judge("f", together(*sets), Limits(), LEVEL), "classes")[0]
    assert held <= 6


def test_limits_of_flips_and_pinned_photos():
    answers = paired(both=500, won=100, lost=10)
    assert judge("f", answers, Limits(flips=0.02), LEVEL).ship
    verdict = judge("f", answers, Limits(flips=0.01), LEVEL)
    assert verdict.sentence == "Hold: 10 photos that were right are now wrong, more than 1.0% of 610."
    assert judge("f", answers, Limits(), LEVEL, pinned=["ash/0.jpg", "ash/510.jpg"]).ship
    verdict = judge("f", answers, Limits(), LEVEL, pinned=["ash/0.jpg", "ash/605.jpg"])
    assert verdict.sentence == "Hold: it breaks 1 pinned photo (ash/605.jpg)."


def test_a_pinned_photo_that_was_wrong_before_is_not_broken():
    answers = paired(both=500, won=100, neither=3)
    assert judge("f", answers, Limits(), LEVEL, pinned=["ash/601.jpg"]).ship


def confidences(right: np.ndarray, sure: float, seed: int = 0) -> np.ndarray:
    """Confidence in answers of which these are right: as often as they are if `sure` is 0, near one if it is 1."""
    draw = np.random.default_rng(seed)
    calibrated = np.clip(right.mean() + draw.normal(0, 0.02, len(right)), 0, 1)
    return calibrated + sure * (0.99 - calibrated)


def test_the_same_answers_with_too_much_confidence_are_held():
    answers = together(paired(both=800, won=80, lost=20, neither=100), paired(both=100, label="elm"))
    before, now = answers.right
    champion = confidences(before, 0)
    good = calibration_of(answers, champion, confidences(now, 0, seed=1))
    assert judge("f", answers, Limits(), LEVEL, calibration=good).ship
    sure = calibration_of(answers, champion, confidences(now, 0.9))
    held = judge("f", answers, Limits(), LEVEL, calibration=sure)
    passed, words = found(held, "calibration")
    assert not held.ship and not passed and held.sentence == f"Hold: {words}."
    assert sure.challenger == pytest.approx(error_of_confidence(confidences(now, 0.9), now))
    assert sure.change[0] == pytest.approx(sure.challenger - sure.champion)
    assert words.startswith(f"its calibration error is {100 * sure.challenger:.1f} points")
    assert words.endswith("]): more than 2 points worse")
    assert held.to_json()["calibration"]["champion"] == sure.champion
    assert judge("f", answers, Limits(calibration=0.2), LEVEL, calibration=sure).ship


def test_the_champion_against_itself_has_no_change_of_calibration():
    answers = paired(both=80, neither=20)
    same = confidences(answers.right[0], 0.9)
    itself = calibration_of(answers, same, same)
    assert itself.change == (0, 0, 0) and itself.champion > 0.1
    assert found(judge("f", answers, Limits(calibration=0), LEVEL, calibration=itself), "calibration")[0]


def test_what_may_be_chance_does_not_hold():
    answers = paired(both=500, won=100)
    for low, passed in ((0.019, True), (0.021, False)):
        change = Calibration(0.05, 0.08, (0.03, low, 0.04))
        assert judge("f", answers, Limits(), LEVEL, calibration=change).ship == passed


def test_few_photos_are_not_held_by_chance():
    """Two models that are calibrated alike, at a limit of no change: the guard's level, and rather less."""
    draw, held = np.random.default_rng(0), 0
    for _ in range(100):
        sure = np.clip(draw.normal(0.8, 0.1, (2, 60)), 0.05, 1)
        change = calibration_change(sure, draw.random((2, 60)) < sure, 1 - 2 * GUARD, resamples=400)
        held += change[1] > 0
    assert held <= 10


def test_photos_that_are_all_right_show_little_of_calibration():
    """30 of 30 right is no wonder of a model that is right 96 times of 100."""
    sure = np.stack([np.full(30, 0.995), np.full(30, 0.96)])
    change, low, _ = calibration_change(sure, np.ones((2, 30), bool), 1 - 2 * GUARD)
    assert abs(change - 0.035) < 1e-9 and low <= Limits().calibration
    low = calibration_change(np.repeat(sure, 100, 1), np.ones((2, 3000), bool), 1 - 2 * GUARD)[1]
    assert low > Limits().calibration, "3000 of 3000 is one"


def test_size_latency_and_labels():
    assert size_check(1_000_000, 1_100_000, Limits()).passed
    refused = size_check(1_000_000, 1_100_001, Limits())
    assert not refused.passed and "1.1 times" in refused.words
    assert latency_check(1.05, 1.2, 1.4, Limits()).passed, "not slower than the limit beyond chance"
    assert not latency_check(1.15, 1.2, 1.4, Limits()).passed
    assert labels_check(["ash", "elm"], ["ash", "elm", "fir"]).words == "it has 1 new class"
    assert labels_check(["ash", "elm"], ["elm", "fir"]).words == "it no longer has 1 class (ash)"
    assert not labels_check(["ash", "elm"], ["elm", "fir"]).passed


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["margin", "detect", "flips", "larger", "slower", "calibration"])
def test_limits_are_numbers(name, value):
    with pytest.raises(InputError, match=name):
        Limits(**{name: value})


def test_one_photo():
    for answers in (paired(both=1), paired(won=1), paired(lost=1), paired(neither=1)):
        assert not judge("f", answers, Limits(), LEVEL).ship
