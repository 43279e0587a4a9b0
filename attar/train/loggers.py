"""Curves of a training for TensorBoard, MLflow or Weights & Biases. Nothing leaves the machine unless told to.

A log is a function of (step, {name: value}) and a function that closes it. MLflow writes to a local folder unless
MLFLOW_TRACKING_URI is set, Weights & Biases stays offline unless WANDB_MODE says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attar.extras import require
from attar.files import make_folder
from attar.train import distributed

EVERY = 10
"""Steps between two points of a curve."""

Write = Callable[[int, Mapping[str, float]], None]
Opened = tuple[Write, Callable[[], object]]


@contextmanager
def log_to(name: str | None, folder: Path, title: str, settings: Mapping[str, Any], start: int) -> Iterator[Write]:
    """A log for the length of a block; it writes nothing without a name, and in ranks other than the first.

    Args:
        name: of `LOGS`, or None.
        folder: for what is kept on this machine.
        title: of the run.
        settings: the training's settings, plain data.
        start: step that the training continues from; what a killed run logged later than that is replaced or repeated.

    Raises:
        MissingExtra: the package is not installed.
    """
    if name is None or not distributed.is_first():
        yield lambda step, values: None
        return
    make_folder(folder)
    write, close = LOGS[name](folder, title, settings, start)
    try:
        yield write
    finally:
        close()


def _tensorboard(folder: Path, title: str, settings: Mapping[str, Any], start: int) -> Opened:
    require("tensorboard")  # by its own name, if it is missing
    writer = require("torch.utils.tensorboard").SummaryWriter(str(folder), purge_step=start or None)
    if not start:
        writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in settings.items()))

    def write(step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            writer.add_scalar(key, value, step)

    return write, writer.close


def _mlflow(folder: Path, title: str, settings: Mapping[str, Any], start: int) -> Opened:
    mlflow = require("mlflow")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').resolve()}")
    mlflow.set_experiment("attar")
    remembered = folder / "mlflow-run"  # a training that continues goes on in the run it began
    run = mlflow.start_run(run_id=remembered.read_text() if start and remembered.is_file() else None, run_name=title)
    remembered.write_text(run.info.run_id)
    if not start:
        mlflow.log_params(dict(settings))
    return lambda step, values: mlflow.log_metrics(dict(values), step=step), mlflow.end_run


def _wandb(folder: Path, title: str, settings: Mapping[str, Any], start: int) -> Opened:
    wandb = require("wandb")
    mode = os.environ.get("WANDB_MODE", "offline")
    run = wandb.init(project="attar", name=title, dir=str(folder), config=dict(settings), mode=mode)
    return lambda step, values: run.log(dict(values), step=step), run.finish


LOGS: dict[str, Callable[[Path, str, Mapping[str, Any], int], Opened]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
"""By the name a recipe gives (`log`)."""
