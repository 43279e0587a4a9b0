"""A training killed (SIGKILL) again and again: `python tests/helpers/killed.py PHOTOS FOLDER`. Prints JSON.

Each attempt is a fork of this process, which has imported everything and computed nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from attar.data.photos import DataSpec, Photos, labels_of, read_photos
from attar.data.store import PhotoStore
from attar.data.views import Batch, ViewLoader, ViewPolicy
from attar.recipe import TrainSpec
from attar.train.loop import train

SPEC = TrainSpec(epochs=8, batch_size=6, lr=0.02, checkpoint_seconds=0, select="best")
KILLS = 10


class Model(nn.Module):
    """Convolution, batch norm, dropout: everything whose state has to come back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.3))
        self.fc = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layers(images.float() / 255).amax((2, 3)))


def work(photos: Photos, checkpoint: Path, result: Path) -> None:
    store = PhotoStore(photos.train, 32)
    loader = ViewLoader(store, labels_of(photos.train), ViewPolicy(), size=32, batch_size=6, seed=5)

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(model(batch.images), batch.labels)

    def validate(model: nn.Module) -> float:
        """Some number that the weights decide."""
        return float(model.state_dict()["fc.weight"].double().sum()) % 1.0

    torch.manual_seed(int(time.time_ns()) % 2**31)  # no process starts with the same random numbers
    trained = train(Model(), SPEC, loader, loss_of, seed=1, checkpoint=checkpoint, validate=validate)
    weights = b"".join(tensor.numpy().tobytes() for tensor in trained.model.state_dict().values())
    result.write_text(json.dumps({"weights": weights.hex(), "history": trained.history}))


def attempt(photos: Photos, folder: Path, writes: int | None, delay: float = 0.0) -> bool:
    """Train in a process; whether it came to its end.

    It is killed `delay` seconds after it has written so many checkpoints: by what it does, because on a busy machine no
    number of seconds is right.
    """
    checkpoint = folder / "x.training.pt"
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        try:
            work(photos, checkpoint, folder / "result.json")
        finally:
            os._exit(0 if (folder / "result.json").exists() else 1)
    if writes is None:
        return os.waitpid(child, 0)[1] == 0
    seen = _written(checkpoint)
    while writes and (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        now = _written(checkpoint)
        writes, seen = writes - (now != seen), now
    if writes:
        return ended[1] == 0
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


def _written(path: Path) -> tuple[int, int]:
    """Something that is another after each time a file is written."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return 0, 0
    return about.st_ino, about.st_mtime_ns


def main(path: Path, folder: Path) -> None:
    photos = read_photos(DataSpec(str(path)))
    whole, killed = folder / "whole", folder / "killed"
    whole.mkdir()
    killed.mkdir()
    assert attempt(photos, whole, None)
    random = np.random.default_rng()
    steps: list[int] = []
    for _ in range(KILLS):
        if attempt(photos, killed, int(random.integers(1, 4)), float(random.uniform(0, 0.01))):
            break
        left = killed / "x.training.pt"
        steps.append(torch.load(left, weights_only=True)["step"] if left.exists() else 0)
    assert attempt(photos, killed, None)
    results = {side.name: json.loads((side / "result.json").read_text()) for side in (whole, killed)}
    print(json.dumps({**results, "steps": steps}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
