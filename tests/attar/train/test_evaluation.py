"""Evaluation of more photos than memory holds is that of photos that it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from attar.data import pixels
from attar.data.photos import DataSpec, load_pixels, read_photos
from attar.preprocessing import Preprocessing
from attar.train.evaluation import evaluate, validator

HOW = Preprocessing(16)
AT_ONCE = 64


class Brightness(nn.Module):
    """Logits of three classes from the mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.05))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3)) * self.scale


def test_photos_are_decoded_a_batch_at_a_time(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = read_photos(DataSpec(path=str(shapes), val_fraction=0.5))
    photos = type(photos)(**{**vars(photos), "val": photos.val * 8})
    model, decoded = Brightness(), []

    def counted(some: list[object], *more: object) -> np.ndarray:
        decoded.append(len(some))
        return load_pixels(some, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(pixels, "load_pixels", counted)
    kept = evaluate(model, photos, HOW, "Model", calibrated=True)
    best = validator(photos, HOW, "best")
    assert best is not None and best(model) == kept["top1"]
    assert decoded == [len(photos.val)] * 2 and len(photos.val) > 2 * AT_ONCE
    decoded.clear()
    monkeypatch.setattr(pixels, "KEPT", 0)
    assert evaluate(model, photos, HOW, "Model", calibrated=True) == kept
    again = validator(photos, HOW, "best")
    assert again is not None and again(model) == kept["top1"]
    assert max(decoded) <= AT_ONCE and sum(decoded) == 2 * len(photos.val)
