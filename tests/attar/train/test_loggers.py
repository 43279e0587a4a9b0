"""Curves: what is drawn is what was trained, for as long as it was trained, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from attar.data.views import Batch
from attar.errors import MissingExtra
from attar.recipe import TrainSpec
from attar.train.loggers import EVERY, LOGS, log_to
from attar.train.loop import train


class Loader:
    batch_size, steps = 4, 8

    def epoch(self, epoch: int, start: int = 0):  # type: ignore[no-untyped-def]
        import numpy as np

        images, labels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.long)
        for _ in range(start, self.steps):
            yield Batch(images, labels, np.arange(4), np.zeros(4, dtype=int))


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))


def square(model: nn.Module, batch: Batch) -> torch.Tensor:
    return model.weight.square().sum()  # type: ignore[operator,union-attr]


class Killed(Exception):
    pass


def test_tensorboard_shows_a_training_that_was_cut_off_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = TrainSpec(epochs=6, batch_size=4, lr=0.1, ema=0.0, log="tensorboard", checkpoint_seconds=0)
    steps = 0

    def dies(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps > 25:
            raise Killed
        return square(model, batch)

    with pytest.raises(Killed):
        train(Line(), spec, Loader(), dies, seed=0, checkpoint=tmp_path / "s.training.pt")
    history = train(Line(), spec, Loader(), square, seed=0, checkpoint=tmp_path / "s.training.pt").history
    shown = EventAccumulator(str(tmp_path / "s.logs"))
    shown.Reload()
    assert [event.step for event in shown.Scalars("loss")] == list(range(EVERY, 49, EVERY))
    epochs = shown.Scalars("epoch/loss")
    assert [event.step for event in epochs] == [8, 16, 24, 32, 40, 48]
    assert [event.value for event in epochs] == pytest.approx([entry["loss"] for entry in history], rel=1e-6)
    assert {"lr", "gradient_norm"} <= set(shown.Tags()["scalars"])


@pytest.mark.optional
@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_the_others_keep_a_run_on_this_machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip(name)
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    with log_to(name, tmp_path / "logs", "a student", {"lr": 0.1}, start=0) as log:
        log(10, {"loss": 2.0})
    with log_to(name, tmp_path / "logs", "a student", {"lr": 0.1}, start=10) as log:
        log(20, {"loss": 1.0})
    if name == "mlflow":
        (run,) = package.search_runs(experiment_names=["attar"], output_format="list")
        points = package.MlflowClient().get_metric_history(run.info.run_id, "loss")
        assert [(point.step, point.value) for point in points] == [(10, 2.0), (20, 1.0)]
    else:
        assert len(list((tmp_path / "logs" / "wandb").glob("offline-run-*"))) == 2


def test_a_package_that_is_missing_is_one_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in LOGS:
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
        with pytest.raises(MissingExtra, match=f"^{name} is not installed.*attar"), log_to(name, tmp_path, "t", {}, 0):
            pass


def test_nothing_is_written_without_being_asked(tmp_path: Path) -> None:
    train(Line(), TrainSpec(epochs=2, batch_size=4), Loader(), square, seed=0, checkpoint=tmp_path / "s.training.pt")
    assert not (tmp_path / "s.logs").exists()
