"""The study of the loss `beyond`: pairs that differ by it alone, the rule that decides, and what is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from attar.benchmarks.studies.beyond import OBJECTIVES, PARTS, SCORED, Pictures, effective_rank, separated
from attar.benchmarks.studies.beyond_page import DECIDING, WITH, section, verdict
from attar.benchmarks.studies.familiarity import BEYOND
from attar.benchmarks.studies.familiarity_page import over_seeds
from attar.files import read_json
from attar.students.familiarity.scores import DEFAULT


def model(near: float, far: float, top1: float = 0.9) -> dict[str, Any]:
    """A student by the AUROC of its scores; `digits` and `photos` are far from it."""
    sets = {"held": near, "elpv": far - 0.02, "photos": far + 0.02}
    scores = {score: {name: {"auroc": value, "fpr95": 1 - value} for name, value in sets.items()} for score in SCORED}
    return {"top1": top1, "rank": 12.5, "scores": scores}


def recorded(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    teacher, objective = DECIDING
    models: dict[str, Any] = {f"{teacher} teacher 0": {**model(0.7, 0.8), "beyond": 0.4}}
    for seed, (without, with_it) in enumerate(pairs):
        models[f"{teacher} {objective} {seed}"] = without
        models[f"{teacher} {objective}{WITH} {seed}"] = with_it
    return {"models": models, "machine": {"cpu": "a processor", "cores": 2}, "epochs": 3, "views": 4}


def test_a_pair_differs_by_the_loss_alone() -> None:
    for name in ("labels", "kd"):
        without, with_it = OBJECTIVES[name], OBJECTIVES[f"{name}{WITH}"]
        assert with_it["label_weight"] == without["label_weight"]
        more = [part for part in with_it["losses"] if part not in without["losses"]]
        assert [(part["name"], part["weight"]) for part in more] == [("beyond", 1.0)]
        assert all(part in with_it["losses"] for part in without["losses"] if part["weight"])
    assert (DECIDING[0], (DECIDING[1] + WITH, DECIDING[1])) == PARTS[0], "what decides is measured first"


def test_the_gain_is_of_pairs_with_students_interval() -> None:
    near, more = np.array([0.80, 0.85, 0.9, 0.83]), np.array([0.02, 0.01, 0.03, 0.012])
    record = recorded([(model(a, 0.9), model(a + b, 0.9)) for a, b in zip(near, more)])
    expected = stats.ttest_rel(near + more, near).confidence_interval()
    assert over_seeds(more) == pytest.approx((expected.low, expected.high))
    gain = f"{100 * more.mean():+.1f} [{100 * expected.low:+.1f}, {100 * expected.high:+.1f}]"
    text = section(record)
    assert f"| {DEFAULT} | held out | {100 * near.mean():.1f} | {100 * (near + more).mean():.1f} | {gain} |" in text
    assert f"| {DEFAULT} | other things | 90.0 | 90.0 | +0.0 [+0.0, +0.0] |" in text
    assert "| top-1 | 90.0 | 90.0 | +0.0" in text and "| effective rank of the features | 12.5 | 12.5 | +0.0" in text
    assert "40% of the variance" in " ".join(text.split()) and "4 seeds" in text


@pytest.mark.parametrize(
    ("gains", "says", "says_not"),
    [
        (
            [(0.02, 0.0), (0.021, 0.01), (0.019, -0.01)],
            "**It helps**: the default score tells held out better.",
            "harm",
        ),
        (
            [(0.0, -0.02), (0.01, -0.021), (-0.01, -0.019)],
            "**It harms**: the default score tells other things",
            "helps",
        ),
        ([(0.05, 0.0), (-0.04, 0.01), (0.01, -0.01)], "**It does not help**, as far as 3 seeds can show:", "harms"),
    ],
)
def test_the_verdict_follows_the_rule(gains: list[tuple[float, float]], says: str, says_not: str) -> None:
    record = recorded([(model(0.8, 0.9), model(0.8 + near, 0.9 + far)) for near, far in gains])
    found = verdict(record["models"])
    assert says in found and says_not not in found


def test_seeds_that_lack_one_of_a_pair_are_left_out() -> None:
    record = recorded([(model(0.8, 0.9), model(0.9, 0.9))] * 2)
    del record["models"][f"{DECIDING[0]} {DECIDING[1]}{WITH} 1"]
    assert verdict(record["models"]) == "Not enough seeds were measured to decide."
    assert "+10.0 |" in section(record) and "one seed" in section(record)


def test_the_effective_rank_is_the_entropy_of_the_eigenvalues() -> None:
    features = np.random.default_rng(0).normal(size=(50, 6)) * [5, 3, 1, 1, 0.2, 0]
    sizes = np.linalg.svd(features - features.mean(0), compute_uv=False) ** 2
    assert effective_rank(torch.from_numpy(features)) == pytest.approx(np.exp(stats.entropy(sizes)), rel=1e-9)


def test_what_is_far_is_told_and_what_is_alike_is_not() -> None:
    rng = np.random.default_rng(0)
    centres = torch.from_numpy(10 * rng.normal(size=(3, 8))).float()

    def of(labels: np.ndarray, shift: float = 0.0) -> np.ndarray:
        """Photos whose first numbers are their class and the shift."""
        images = rng.integers(0, 256, (len(labels), 4, 4, 3)).astype(np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = labels, shift
        return images

    def run(pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.from_numpy(pixels[:, 1:, :2].reshape(len(pixels), -1)[:, :8] / 128.0 - 1.0).float()
        pooled = (
            centres[pixels[:, 0, 0, 0].astype(np.int64)]
            + noise
            + torch.from_numpy(pixels[:, 0, 0, 1:2].astype(np.float32))
        )
        return pooled @ centres.T, pooled

    train, val = np.arange(120) % 3, np.arange(90) % 3
    seen = Pictures(of(train), torch.from_numpy(train), of(val), val, {"same": of(val), "far": of(val, 50.0)})
    row = separated(run, (centres, torch.zeros(3)), seen)
    assert row["top1"] == 1 and set(row["scores"]) == set(SCORED)
    for score in ("mahalanobis", "relative"):
        far, same = row["scores"][score]["far"], row["scores"][score]["same"]
        assert far == {"auroc": 1.0, "fpr95": 0.0}, score
        assert 0.4 < same["auroc"] < 0.6 and same["fpr95"] > 0.8, score


def test_the_record_has_every_pair() -> None:
    models = read_json(BEYOND)["models"]
    for teacher, objectives in PARTS[:2]:
        seeds = {name.split()[-1] for name in models if name.startswith(f"{teacher} {objectives[0]} ")}
        assert len(seeds) == 5 and all(f"{teacher} {each} {seed}" in models for each in objectives for seed in seeds)
