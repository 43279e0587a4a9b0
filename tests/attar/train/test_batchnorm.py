"""Batch-norm statistics measured anew: against a mean and variance computed by NumPy, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from attar.inference import predict
from attar.train import batchnorm


class Normed(nn.Module):
    """A convolution of 1 x 1 and a norm, so that the norm's input can be computed by hand; dropout besides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 1)
        self.norm = nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.5)
        self.unused = nn.BatchNorm2d(5)
        self.fc = nn.Linear(5, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(self.norm(self.conv(images.float())).mean((2, 3))))


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [2, 63, 64, 65, 150])
def test_statistics_are_the_photos_own(count: int) -> None:
    model, images = Normed(), pixels(count)
    batchnorm.remeasure(model, images)
    weight, bias = model.conv.weight.detach().numpy()[:, :, 0, 0].astype(np.float64), model.conv.bias.detach().numpy()
    features = images.astype(np.float64) @ weight.T + bias  # (N, 4, 4, 5)
    assert model.norm.running_mean.numpy() == pytest.approx(features.mean((0, 1, 2)), rel=1e-4)
    batches = -(-count // batchnorm.BATCH)
    parts = [features[first::batches] for first in range(batches)]
    within = [part.reshape(-1, 5).var(0, ddof=1) * len(part) / count for part in parts]
    assert model.norm.running_var.numpy() == pytest.approx(sum(within), rel=1e-4)


def test_photos_sorted_by_class_give_what_mixed_ones_do() -> None:
    """As photos stand in a data set: batches of one class each lack the variance between the classes."""
    images = np.concatenate([pixels(128) // 8, 128 + pixels(128) // 8])  # a dark class and a bright one
    model, mixed = Normed(), Normed()
    mixed.load_state_dict(model.state_dict())
    batchnorm.remeasure(model, images)
    batchnorm.remeasure(mixed, images[np.random.default_rng(0).permutation(len(images))])
    assert model.norm.running_var.numpy() == pytest.approx(mixed.norm.running_var.numpy(), rel=0.05)


def test_nothing_else_changes() -> None:
    model = Normed().eval()
    torch.manual_seed(7)
    state, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    batchnorm.remeasure(model, pixels(70))
    assert torch.equal(torch.get_rng_state(), random) and not model.training and model.norm.momentum == 0.1
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
    assert changed == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}


def test_the_same_photos_give_the_same_bits() -> None:
    one, two = Normed(), Normed()
    two.norm.running_mean.fill_(1e6)  # whatever was there before
    for model in (one, two):
        batchnorm.remeasure(model, pixels(100))
    assert torch.equal(one.norm.running_var, two.norm.running_var)
    assert torch.equal(one.norm.running_mean, two.norm.running_mean)


def test_kept_puts_the_statistics_back() -> None:
    model = Normed()
    before = model.norm.running_mean.clone()
    with batchnorm.kept(model):
        batchnorm.remeasure(model, pixels(10))
        assert not torch.equal(model.norm.running_mean, before)
    assert torch.equal(model.norm.running_mean, before) and int(model.norm.num_batches_tracked) == 0


def test_a_model_whose_moving_statistics_lag_answers_one_class_until_it_is_remeasured() -> None:
    torch.manual_seed(0)
    labels = torch.arange(64) % 2
    images = np.full((64, 4, 4, 3), 250, dtype=np.uint8)
    images[labels.numpy() == 1] = 240
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(_Floats(), *model, nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    for _ in range(8):
        loss = nn.functional.cross_entropy(model(tensor), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = lambda: float((predict(model, images).argmax(1) == labels.numpy()).mean())  # noqa: E731
    assert right() == 0.5
    batchnorm.remeasure(model, images)
    assert right() == 1.0


class _Floats(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float()
