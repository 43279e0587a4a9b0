"""The labels' loss on imbalanced photos, against formulas written out here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from attar.data.photos import DataSpec, Photo, Photos
from attar.recipe import TrainSpec
from attar.train.balance import LabelLoss, effective_weights, label_loss

COUNTS = np.array([100, 10, 1, 40])
PHOTOS = Photos(
    DataSpec("photos"), tuple("abcd"), tuple(Photo(Path("x"), int(c)) for c in np.repeat(np.arange(4), COUNTS)), ()
)
RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(6, 4)) * 2
PICKED = np.array([0, 2, 1, 2, 3, 0])
SHARES = RNG.dirichlet(np.ones(4), size=6)


def loss(labels: np.ndarray = PICKED, logits: np.ndarray = LOGITS, **spec: object) -> float:
    made = label_loss(TrainSpec(**spec), PHOTOS)
    return float(made(torch.from_numpy(logits), torch.from_numpy(labels)))


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_logit_adjusted_is_equation_10_written_out(tau: float) -> None:
    """log(1 + sum over other classes of (prior(other) / prior(own))^tau * exp(logit(other) - logit(own)))."""
    prior = COUNTS / COUNTS.sum()
    expected = [
        np.log1p(sum((prior[o] / prior[y]) ** tau * np.exp(row[o] - row[y]) for o in range(4) if o != y))
        for row, y in zip(LOGITS, PICKED)
    ]
    assert loss(balance="logit_adjusted", tau=tau) == pytest.approx(np.mean(expected), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_class_balanced_weighs_by_effective_numbers(beta: float) -> None:
    effective = np.array([sum(beta**i for i in range(n)) for n in COUNTS])  # what the closed form sums
    weights = (1 / effective) / (1 / effective).sum() * 4
    own = LOGITS[np.arange(6), PICKED] - np.log(np.exp(LOGITS).sum(1))
    assert loss(balance="class_balanced", beta=beta) == pytest.approx(-np.mean(weights[PICKED] * own), rel=1e-6)


def test_beta_goes_from_alike_to_inverse_frequency() -> None:
    assert np.allclose(effective_weights(COUNTS, 0.0), 1)
    near = effective_weights(COUNTS, 1 - 1e-12)
    assert np.allclose(near * COUNTS / (near * COUNTS)[0], 1, rtol=1e-3) and near.mean() == pytest.approx(1)


@pytest.mark.parametrize("balance", ["none", "class_balanced", "logit_adjusted"])
def test_gradients_of_labels_and_shares(balance: str) -> None:
    made = label_loss(TrainSpec(balance=balance, label_smoothing=0.1), PHOTOS).double()
    for labels in map(torch.from_numpy, (PICKED, SHARES)):
        logits = torch.from_numpy(LOGITS.copy()).requires_grad_()
        assert torch.autograd.gradcheck(made, [logits, labels])


@pytest.mark.parametrize("balance", ["none", "class_balanced", "logit_adjusted"])
def test_mixed_labels_are_the_mix_of_the_losses(balance: str) -> None:
    """As Mixup has it: rate * loss(own) + (1 - rate) * loss(partner); and a share of 1 is the label itself."""
    how = {"balance": balance, "label_smoothing": 0.1}
    eye, partner = np.eye(4), PICKED[::-1].copy()
    mixed = loss(0.3 * eye[PICKED] + 0.7 * eye[partner], **how)
    assert mixed == pytest.approx(0.3 * loss(PICKED, **how) + 0.7 * loss(partner, **how), rel=1e-6)
    assert loss(eye[PICKED], **how) == pytest.approx(loss(PICKED, **how), rel=1e-6)


def test_smoothing_is_weighed_with_the_photo_not_with_the_rare_class() -> None:
    logs = torch.log_softmax(torch.from_numpy(LOGITS), 1).numpy()
    smoothed = -(0.9 * logs[np.arange(6), PICKED] + 0.1 * logs.mean(1))
    weights = effective_weights(COUNTS, 0.9999)[PICKED]
    value = loss(balance="class_balanced", label_smoothing=0.1)
    assert value == pytest.approx((weights * smoothed).mean(), rel=1e-6)


def test_a_batch_is_the_mean_of_its_parts() -> None:
    """So ranks and accumulation add up, which dividing by the sum of weights would break."""
    parts = [loss(PICKED[rows], LOGITS[rows], balance="class_balanced") for rows in (slice(0, 3), slice(3, 6))]
    assert np.mean(parts) == pytest.approx(loss(balance="class_balanced"), rel=1e-6)


def test_unbalanced_is_plain_cross_entropy_and_nothing_is_checkpointed() -> None:
    logits = torch.from_numpy(LOGITS)
    plain = functional.cross_entropy(logits, torch.from_numpy(PICKED), label_smoothing=0.1)
    assert torch.equal(LabelLoss(0.1)(logits, torch.from_numpy(PICKED)), plain)
    assert not label_loss(TrainSpec(balance="class_balanced"), PHOTOS).state_dict()
