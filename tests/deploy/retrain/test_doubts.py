"""Labels that are probably wrong are found, by a model that did not train on the photos."""

from __future__ import annotations

import numpy as np
import pytest

from attar.deploy.retrain.doubts import doubted, renamed
from attar.deploy.retrain.opinion import Opinion, keeps_teacher

CLASSES = 6


def answers(truth: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Probabilities of a model that is right so often, and a bit less sure where it is wrong."""
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet(np.full(CLASSES, 0.5), len(truth)) * 0.4
    said = np.where(draw.random(len(truth)) < right, truth, draw.integers(0, CLASSES, len(truth)))
    shares[np.arange(len(truth)), said] += 0.6
    return shares / shares.sum(1, keepdims=True)


def off_diagonal(labels: np.ndarray, shares: np.ndarray) -> set[int]:
    """The off-diagonal of the confident joint (arXiv 1911.00068, equation 1): a class reaches its usual confidence, and
    the most probable of those that do is not the label.
    """
    usual = np.array([shares[labels == each, each].mean() for each in range(CLASSES)])
    reaching = np.where(shares >= usual, shares, -1.0)
    return set(np.flatnonzero((reaching.max(1) > 0) & (reaching.argmax(1) != labels)))


@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_are_found_as_the_paper_finds_them(seed: int) -> None:
    draw = np.random.default_rng(100 + seed)
    held, truth = draw.integers(0, CLASSES, 300), draw.integers(0, CLASSES, 200)
    labels = truth.copy()
    wrong = draw.choice(200, 20, replace=False)
    labels[wrong] = (labels[wrong] + draw.integers(1, CLASSES, 20)) % CLASSES
    usual, new = answers(held, 0.95, seed + 50), answers(truth, 0.95, seed)
    found = {each.index for each in doubted(labels, new, held, usual)}
    every = off_diagonal(np.concatenate([held, labels]), np.concatenate([usual, new]))
    assert found == {each - 300 for each in every if each >= 300}
    assert len(found & set(wrong)) >= 12
    assert len(found - set(wrong)) <= 10


def test_what_is_said_of_a_doubt() -> None:
    truth = np.arange(60) % CLASSES
    labels = truth.copy()
    labels[7] = 2  # a photo of class 1
    held = np.arange(120) % CLASSES
    (found,) = doubted(labels, answers(truth, 1.0, 0), held, answers(held, 1.0, 1))
    assert (found.index, found.instead) == (7, 1)
    assert found.confidence > 0.6 > 0.4 > found.given


def test_nothing_new_is_nothing_doubted() -> None:
    held = np.arange(12) % CLASSES
    assert doubted(np.zeros(0, np.int64), np.zeros((0, CLASSES)), held, answers(held, 1.0, 0)) == []


def test_a_class_under_another_name_is_found_and_a_really_new_one_is_not() -> None:
    known = answers(np.full(20, 3), 0.95, 0) ** 3
    unknown = np.random.default_rng(0).dirichlet(np.ones(CLASSES), 20)
    shares = np.concatenate([known / known.sum(1, keepdims=True), unknown])
    assert renamed(["Taraxacum"] * 20 + ["oak"] * 20, shares) == {"Taraxacum": 3}


@pytest.mark.parametrize(
    "right, asked, same, kept",
    [(90, 100, True, True), (80, 100, True, False), (0, 0, True, True), (90, 100, False, False)],
)
def test_the_teacher_is_kept_where_it_is_as_good_as_it_was(right: int, asked: int, same: bool, kept: bool) -> None:
    """Of 300 of 320 others, 90 of 100 may be chance (p = 0.13 by scipy), and 80 of 100 not."""
    keep, why = keeps_teacher(Opinion({}, [], right, asked, 300, 320), same)
    assert keep is kept
    assert why.endswith(".")
