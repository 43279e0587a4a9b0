"""The judgement of a model from its metrics: who is at chance, why, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from attar.readiness import at_chance, judged, message, summary

MAJORITY = {"label": "rose", "share": 1 / 3}
CHANCE: dict[str, Any] = {"top1": 0.35, "top1_interval": [0.24, 0.46], "images": 60, "majority": MAJORITY}
GOOD: dict[str, Any] = {"top1": 0.8, "top1_interval": [0.7, 0.9], "images": 60, "majority": MAJORITY}


def test_chance_is_an_interval_that_does_not_exclude_the_commonest_class() -> None:
    assert at_chance(CHANCE) and not at_chance(GOOD)
    assert at_chance({**GOOD, "majority": {"label": "rose", "share": 0.7}})
    assert not at_chance({"top1": 0.1, "images": 60, "top1_interval": [0.0, 0.2]}), "version 0.1 did not say"


@pytest.mark.parametrize(
    ("more", "teacher", "remedy"),
    [
        ({"steps": 36}, None, "36 steps. Leave epochs out"),
        ({"steps": 36, "train_top1": 0.95, "train_images": 180}, None, "On its training photos it is right on 95.0%"),
        ({"steps": 5000, "images": 40}, None, "40 validation photos can show little"),
        ({"steps": 5000, "images": 400}, None, "Look at the labels first"),
        ({"steps": 36}, CHANCE, "Its teacher is at chance too"),
    ],
)
def test_a_model_at_chance_is_not_ready_and_hears_what_to_do(more: Any, teacher: Any, remedy: str) -> None:
    readiness = judged({**CHANCE, **more}, teacher)
    assert not readiness.ready and remedy in readiness.reasons[1]
    assert "always answering 'rose' would be right on 33.3%" in readiness.reasons[0]
    assert "Do not ship yet" in message("Student", "x", {**CHANCE, **more}, teacher)


def test_a_teacher_far_ahead_is_remarked_on_only_where_it_is_shown() -> None:
    teacher = {"top1": 0.97, "top1_interval": [0.93, 1.0], "images": 60}
    readiness = judged(GOOD, teacher)
    assert readiness.ready and "17.0 points more" in readiness.remarks[0]
    assert judged(GOOD, {**teacher, "top1_interval": [0.85, 1.0]}).remarks == ()
    assert judged(GOOD, {"top1": 0.82, "top1_interval": [0.81, 0.83], "images": 60}).remarks == ()


def test_a_gap_to_the_training_photos_is_remarked_on() -> None:
    assert "20.0 points more than on others" in judged({**GOOD, "train_top1": 1.0, "train_images": 180}).remarks[0]
    assert judged({**GOOD, "train_top1": 0.82, "train_images": 180}).remarks == ()


def test_the_summary_names_all_three_figures() -> None:
    text = summary({**GOOD, "train_top1": 0.9, "train_images": 180})
    assert text == (
        "top-1 80.0% on 60 validation photos, 90.0% on 180 training photos; always answering 'rose' would reach 33.3%"
    )
