"""Where a student falls short, on answers made up so that the truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attar.benchmarks.report.error_analysis import analyse, groups_of
from attar.benchmarks.report.error_analysis_page import markdown, summary, terminal_table, to_json, write_shortfall
from attar.metrics import beyond_chance, bootstrap_interval, paired_interval, sign_test

MODELS = {"teacher": {"name": "vit", "fingerprint": "t"}, "student": {"name": "net|v1", "fingerprint": "s"}}
BASELINE = {"baseline": {"name": "plain", "fingerprint": "b"}}


def noisy(labels: np.ndarray, skill: float, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Right with probability `skill`, else any class."""
    return np.where(rng.random(len(labels)) < skill, labels, rng.integers(0, classes, len(labels)))


def compared(answers: dict[str, np.ndarray], labels: np.ndarray, counts: np.ndarray) -> object:
    names = [f"class {c}" for c in range(len(counts))]
    about = {**MODELS, **BASELINE} if "baseline" in answers else MODELS
    about = {name: about[name] for name in answers}
    return analyse(answers, labels, counts, names, [f"{i}.jpg" for i in range(len(labels))], models=about)


# --- statistics ----------------------------------------------------------------------------------


def test_two_photos_of_two_are_no_loss() -> None:
    both_lost = np.array([-1, -1])
    assert bootstrap_interval(both_lost)[1] < 0  # which is why it is not used here
    low, high = paired_interval(both_lost)
    assert low == -1 and high > 0
    assert paired_interval(np.array([-1] * 20 + [0] * 80))[1] < 0


def test_a_paired_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for chances in ([0.1, 0.85, 0.05], [0.3, 0.4, 0.3], [0.02, 0.96, 0.02]):
        truth = chances[2] - chances[0]
        for images, level in ((12, 0.95), (150, 0.95), (150, 0.9875)):
            drawn = [paired_interval(rng.choice([-1, 0, 1], images, p=chances), level) for _ in range(400)]
            held = np.mean([low <= truth <= high for low, high in drawn])
            assert held >= level - 0.02, (chances, images, level)
    assert paired_interval(-both(7, 2, 50)) == pytest.approx([-x for x in paired_interval(both(7, 2, 50))][::-1])


def both(won: int, lost: int, images: int) -> np.ndarray:
    return np.array([1] * won + [-1] * lost + [0] * (images - won - lost))


def test_the_sign_test_counts_outcomes() -> None:
    from itertools import product

    for won, lost in ((0, 0), (3, 0), (5, 2), (2, 5), (4, 4)):
        n = won + lost
        outcomes = [sum(flips) for flips in product((0, 1), repeat=n)]
        as_far = [abs(2 * k - n) >= abs(won - lost) for k in outcomes]
        assert sign_test(np.array(won), np.array(lost)) == pytest.approx(np.mean(as_far))


def test_many_tests_of_nothing_find_nothing() -> None:
    assert not beyond_chance(np.linspace(0.001, 1, 1000)).any()
    assert beyond_chance(np.array([1e-9, *np.linspace(0.01, 1, 999)])).tolist() == [True] + [False] * 999
    assert beyond_chance(np.zeros(0)).shape == (0,)


# --- groups --------------------------------------------------------------------------------------


def test_groups_of_the_field_where_all_three_are_there() -> None:
    words, group = groups_of(np.array([101, 100, 20, 19, 1]))
    assert group.tolist() == ["many", "medium", "medium", "few", "few"] and "more than 100" in words


def test_thirds_otherwise() -> None:
    words, group = groups_of(np.array([5, 50, 7, 30, 6, 40]))
    assert group.tolist() == ["tail", "head", "middle", "middle", "tail", "head"] and "thirds" in words
    assert groups_of(np.array([3, 9]))[1].tolist() == ["tail", "head"]
    words, group = groups_of(np.array([12, 23, 15, 12]))
    assert set(group.tolist()) == {"all"} and "between 12 and 23" in words


# --- the comparison ------------------------------------------------------------------------------

COUNTS = np.array([200, 150, 60, 40, 10, 5])
LABELS = np.repeat(np.arange(6), 40)


def test_what_was_lost_is_found_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    teacher = noisy(LABELS, 0.9, 6, rng)
    student = np.where(rng.random(len(LABELS)) < 0.95, teacher, noisy(LABELS, 0.9, 6, rng))
    tail = np.flatnonzero(LABELS == 5)
    student[tail[:30]] = 2  # most photos of class 5 go to class 2
    teacher[tail[:3]] = 2  # three with the teacher: these are not new
    analysis = compared({"teacher": teacher, "student": student}, LABELS, COUNTS)
    assert [row.label for row in analysis.lost()] == ["class 5"] and not analysis.gained()
    row = analysis.lost()[0]
    assert row.change["teacher"].value == pytest.approx((student == 5)[tail].mean() - (teacher == 5)[tail].mean())
    assert row.change["teacher"].high < 0 and (row.group, row.trained, row.images) == ("few", 5, 40)
    sure = [(c.label, c.answered) for c in analysis.confusions if c.certain]
    assert sure == [("class 5", "class 2")]
    worst = analysis.confusions[0]
    places = [int(name.removesuffix(".jpg")) for name in worst.photos]
    assert places and all(student[i] == 2 and teacher[i] != 2 and LABELS[i] == 5 for i in places)
    assert worst.student == (student[tail] == 2).sum() and worst.teacher == (teacher[tail] == 2).sum()
    groups = {row.name: row for row in analysis.groups}
    assert list(groups) == ["many", "medium", "few", "all"] and groups["few"].trained == (5, 10)
    assert (groups["all"].classes, groups["all"].images) == (6, 240)
    assert groups["all"].recall["teacher"] == pytest.approx((teacher == LABELS).mean())
    few = LABELS >= 4
    assert groups["few"].recall["student"] == pytest.approx((student == LABELS)[few].mean())
    assert groups["few"].change["teacher"].high < 0 < groups["many"].change["teacher"].high


def test_noise_is_not_told_of_as_loss() -> None:
    """Two models of the same skill, 200 classes of 8 photos: some class seems to lose half its recall every time."""
    rng = np.random.default_rng(2)
    labels, counts = np.repeat(np.arange(200), 8), np.arange(200) + 5
    alarms, seeming = 0, 0
    for _ in range(20):
        teacher, student = noisy(labels, 0.7, 200, rng), noisy(labels, 0.7, 200, rng)
        analysis = compared({"teacher": teacher, "student": student}, labels, counts)
        alarms += bool(analysis.lost() or analysis.gained() or any(c.certain for c in analysis.confusions))
        seeming += min(row.change["teacher"].value for row in analysis.classes) <= -0.5
    assert alarms <= 2 and seeming == 20


def test_a_baseline_shows_what_distillation_changed() -> None:
    rng = np.random.default_rng(3)
    student = noisy(LABELS, 0.9, 6, rng)
    baseline = student.copy()
    baseline[LABELS == 4] = 0
    analysis = compared({"student": student, "baseline": baseline}, LABELS, COUNTS)
    assert [row.label for row in analysis.gained("baseline")] == ["class 4"] and not analysis.confusions
    page = markdown(analysis)
    assert "class 4" in page and "New confusions" not in page and "net\\|v1" in page


def test_page_table_and_json_say_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    teacher, student = noisy(LABELS[:-40], 0.9, 6, rng), noisy(LABELS[:-40], 0.9, 6, rng)
    student[LABELS[:-40] == 3] = 1
    analysis = compared({"teacher": teacher, "student": student}, LABELS[:-40], COUNTS)
    tried = {"change": "views", "what": "more", "top1": 0.5, "gain": 0.01, "low": -0.02, "high": 0.04}
    trials = {
        "how": "Tried so.",
        "suggestion": "Do this.",
        "level": 0.95,
        "student": 0.5,
        "control": 0.49,
        "left_out": ["head was not tried."],
        "tried": [{**tried, "verdict": "no evidence"}],
    }
    write_shortfall(analysis, tmp_path, trials)
    stored = json.loads((tmp_path / "shortfall.json").read_text())
    assert stored == json.loads(json.dumps(to_json(analysis, trials))) and stored["trials"]["tried"][0]["gain"] == 0.01
    page = (tmp_path / "shortfall.md").read_text()
    for text in ("class 3", "Do this.", "no evidence", "head was not tried.", "used to choose", "left out: 1."):
        assert text in page, text
    assert any("class 3" in line for line in summary(analysis)) and terminal_table(analysis).row_count == 4
