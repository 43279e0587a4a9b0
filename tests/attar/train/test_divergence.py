"""Divergence: what is told, after how long, and what is left alone."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest

from attar.train.divergence import LossWatch

RNG = np.random.default_rng(0)


def told_at(losses: Iterable[float], patience: int = 100) -> tuple[int, str] | None:
    watch = LossWatch(patience)
    for step, loss in enumerate(losses, start=1):
        if text := watch.diverged(float(loss)):
            return step, text
    return None


def noisy(losses: np.ndarray, spread: float) -> np.ndarray:
    return losses * np.exp(RNG.normal(0, spread, len(losses)))


HEALTHY = {
    "falls": 2.3 * np.exp(-np.linspace(0, 4, 1000)),
    "falls to nothing": 2.3 * np.exp(-np.linspace(0, 12, 1000)),
    "stands still": np.full(1000, 2.3),
    "rises while warming up, then falls": np.concatenate(
        [np.linspace(2.3, 4.5, 40), 4.5 * np.exp(-np.linspace(0, 3, 900))]
    ),
    "starts low and doubles": np.concatenate([np.full(20, 0.05), np.full(900, 0.1)]),
    "a short spike": np.concatenate([np.full(300, 0.5), np.full(20, 9.0), np.full(300, 0.5)]),
    "rises half the way": np.concatenate([2.3 * np.exp(-np.linspace(0, 2, 300)), np.full(500, 1.2)]),
}
LOST = {
    "above its start": (np.concatenate([np.full(100, 2.3), np.full(500, 5.0)]), 100),
    "back at its start": (np.concatenate([2.3 * np.exp(-np.linspace(0, 2, 300)), np.full(500, 2.3)]), 300),
    "climbs for ever": (np.linspace(1, 100, 600), 5),
}


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_loss_is_left_alone(name: str, spread: float) -> None:
    assert told_at(noisy(HEALTHY[name], spread)) is None


@pytest.mark.parametrize("spread", [0.0, 0.2])
@pytest.mark.parametrize("name", LOST)
def test_a_lost_training_is_told_soon_after_it_is_lost(name: str, spread: float) -> None:
    losses, lost = LOST[name]
    step = told_at(noisy(losses, spread))
    assert step is not None and lost + 100 <= step[0] < lost + 160
    assert "at the start" in step[1] and "at its best" in step[1]


def test_a_watch_that_was_stored_goes_on_the_same() -> None:
    losses, _ = LOST["back at its start"]
    watch = LossWatch(100)
    for loss in losses[:320]:
        assert watch.diverged(loss) is None
    again = LossWatch(**json.loads(json.dumps(watch.to_json())))
    rest = [bool(again.diverged(loss)) for loss in losses[320:]]
    assert 320 + rest.index(True) + 1 == (told_at(losses) or (0, ""))[0]
