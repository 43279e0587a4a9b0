"""The training loop: its schedule, its exact resume, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from attar.data import DataSpec, labels_of, read_photos
from attar.errors import GateError, InputError
from attar.recipe import TrainSpec
from attar.training import learning_rate, train
from attar.views import Batch, PhotoStore, ViewLoader, ViewPolicy

SPEC = TrainSpec(epochs=3, batch_size=8, lr=0.01, checkpoint_seconds=0)


class Tiny(nn.Module):
    """Convolution, batch norm, dropout: everything whose state a resume must bring back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.bn = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn(self.conv(images.float() / 255)))
        return self.fc(self.drop(x.mean((2, 3))))


@pytest.fixture(scope="module")
def loader(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> ViewLoader:
    photos = read_photos(DataSpec(str(shapes)))
    store = PhotoStore(photos.train, 32)
    return ViewLoader(store, labels_of(photos.train), ViewPolicy(), size=32, batch_size=8, seed=5)


def cross_entropy(model: nn.Module, batch: Batch) -> torch.Tensor:
    return functional.cross_entropy(model(batch.images), batch.labels)


def weights(model: nn.Module) -> bytes:
    return b"".join(t.contiguous().numpy().tobytes() for t in model.state_dict().values())


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 4, 5, 8, 11])
def test_resuming_after_any_step_gives_the_same_weights(stop: int, loader: ViewLoader, tmp_path: Path) -> None:
    whole = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")
    steps = 0

    def dies(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps > stop:
            raise Killed
        return cross_entropy(model, batch)

    with pytest.raises(Killed):
        train(Tiny(), SPEC, loader, dies, seed=1, checkpoint=tmp_path / "b.pt")
    torch.manual_seed(999)  # a new process starts with other random numbers
    resumed = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt")
    assert weights(resumed.model) == weights(whole.model)


def test_another_seed_gives_other_weights(loader: ViewLoader, tmp_path: Path) -> None:
    one = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")
    two = train(Tiny(), SPEC, loader, cross_entropy, seed=2, checkpoint=tmp_path / "b.pt")
    assert weights(one.model) != weights(two.model)


def test_the_result_is_the_average_in_evaluation_mode(loader: ViewLoader, tmp_path: Path) -> None:
    averaged = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")
    plain = train(
        Tiny(), SPEC.model_copy(update={"ema": 0.0}), loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt"
    )
    assert not averaged.model.training and weights(averaged.model) != weights(plain.model)


def test_training_lowers_the_loss(loader: ViewLoader, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"epochs": 40, "lr": 0.05})
    history = train(Tiny(), spec, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt").history
    assert len(history) == 40 and history[-1]["loss"] < 0.9 * history[0]["loss"]


def test_a_checkpoint_of_another_run_is_refused_and_kept(loader: ViewLoader, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"a\.pt.*another run"):
        train(Tiny(), SPEC, loader, cross_entropy, seed=2, checkpoint=path)
    with pytest.raises(InputError, match="another run"):
        train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path, identity="other photos")
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_named(loader: ViewLoader, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"a\.pt.*damaged"):
        train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path)


def test_a_loss_that_is_not_finite_ends_the_run(loader: ViewLoader, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="learning rate"):
        train(
            Tiny(), SPEC, loader, lambda m, b: cross_entropy(m, b) * float("nan"),
            seed=1, checkpoint=tmp_path / "a.pt",
        )  # fmt: skip


def test_the_schedule_warms_up_then_falls_as_a_cosine() -> None:
    spec = TrainSpec(lr=2.0, warmup=0.1)
    rates = [learning_rate(spec, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == 2.0 and rates[55] == pytest.approx(1.0) and rates[99] < 0.002
    assert rates[77] == pytest.approx(1 + math.cos(math.pi * 67 / 90))
