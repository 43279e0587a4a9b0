"""Changes of level are found where they are, warm-up ends when they end, and a run's verdict says what happened."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from attar.benchmarks.latency.stability import Verdict, pace, verdict
from attar.benchmarks.latency.warmup import STABLE, change_in, settled, warm_up
from attar.benchmarks.studies.coverage import series


def drawn(levels: list[tuple[int, float]], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.full(count, level) for count, level in levels])
    return values * (1 + rng.gamma(2.0, 0.01, len(values)))


def test_a_change_is_found_where_it_is() -> None:
    change = change_in(drawn([(60, 1.0), (40, 1.2)]))
    assert change and abs(change.at - 60) <= 1 and change.ratio == pytest.approx(1.2, rel=0.02)


def test_what_does_not_change_is_let_pass() -> None:
    changes = [change_in(drawn([(100, 1.0)], seed)) for seed in range(300)]
    assert not any(changes)
    assert change_in(drawn([(50, 1.0), (50, 1.01)])) is None  # too small to matter
    assert change_in([1.0] * 20) is None and change_in([1.0, 9.0]) is None


def test_single_slow_inferences_are_no_change() -> None:
    values = drawn([(100, 1.0)])
    values[[10, 50, 51]] *= 20
    assert change_in(values) is None


def test_settled_looks_behind_every_change() -> None:
    assert settled(drawn([(100, 1.0)])) == 0
    assert abs(settled(drawn([(30, 3.0), (40, 1.5), (80, 1.0)])) - 70) <= 2


class Clock:
    """Time that passes only in inferences, each as long as the next of `levels`, seconds."""

    def __init__(self, levels: Iterator[float]) -> None:
        self.now, self.levels, self.runs = 0, levels, 0

    def infer(self) -> None:
        self.now += round(1e9 * next(self.levels))
        self.runs += 1

    def __call__(self) -> int:
        return self.now


def endless(start: np.ndarray, level: float, seed: int = 1) -> Iterator[float]:
    yield from start
    rng = np.random.default_rng(seed)
    while True:
        yield level * (1 + float(rng.gamma(2.0, 0.01)))


def test_warm_up_lasts_as_long_as_the_file_takes_to_settle() -> None:
    quick, slow = (Clock(endless(np.linspace(0.03, 0.01, count), 0.01)) for count in (0, 120))
    short, long = (warm_up(clock.infer, clock=clock) for clock in (quick, slow))
    assert short.settled and long.settled
    assert short.runs < 100 < 100 + STABLE <= long.runs <= slow.runs


def test_warm_up_of_what_never_settles_ends_and_says_so() -> None:
    growing = Clock(0.01 * 1.01**n for n in range(10_000))
    done = warm_up(growing.infer, most=3.0, clock=growing)
    assert not done.settled and growing.now < 4e9
    endless_inference = Clock(iter([60.0]))
    assert warm_up(endless_inference.infer, clock=endless_inference).runs == 1


def test_a_steady_machine_is_trusted() -> None:
    trusted = [verdict(series("steady", np.random.default_rng(seed), 40), ["a", "b"]).trusted for seed in range(50)]
    assert all(trusted)
    assert str(Verdict(True)) == "The machine was steady."


def test_throttling_is_seen_and_told() -> None:
    said = verdict(series("throttling", np.random.default_rng(3), 40), ["a", "b"])
    assert not said.trusted and "40% slower" in str(said) and "--cool-down" in str(said)


def test_a_machine_that_wakes_up_is_told_as_such() -> None:
    files = [each[::-1] for each in series("throttling", np.random.default_rng(3), 40)]
    assert "faster after" in str(verdict(files, ["a", "b"]))


def test_the_pace_is_what_files_have_in_common() -> None:
    one, other = series("throttling", np.random.default_rng(3), 40)
    alone = np.where(np.arange(40) < 20, 1.0, 2.0)[:, None] * series("steady", np.random.default_rng(4), 40)[0]
    assert pace([one, other, alone])[-5:] == pytest.approx(np.full(5, pace([one, other])[-5:].mean()), rel=0.05)


def test_other_programs_and_unsettled_files_are_named() -> None:
    files = series("steady", np.random.default_rng(0), 40)
    said = verdict(files, ["a", "b"], waited=0.2, unsettled=["b.tflite"])
    assert "20% of the timed seconds" in str(said) and "b.tflite" in str(said) and not said.trusted
    assert said.to_json()["trusted"] is False and len(said.to_json()["reasons"]) == 2
    assert verdict(files, ["a", "b"], waited=0.01).trusted


def test_a_median_that_is_hardly_known_is_named() -> None:
    rng = np.random.default_rng(0)
    wild = rng.lognormal(0, 0.8, (20, 5))
    assert "wild.onnx" in str(verdict([wild], ["wild.onnx"]))
