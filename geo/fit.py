"""Training the prior of place and season on observations, which say where labels are and never where they are not.

The loss takes every other label as absent where one was observed, and all of them at places drawn evenly over the globe
("full assume negative", Cole et al., arXiv 2306.02564, section 3.2). A label's observations count `positive` times as
much as an absence. Of frequent labels only some observations are shown in an epoch, drawn anew each time.

How good it is, is told by places that it has not seen: whole cells of the globe (H3, https://h3geo.org) are held out,
since beside almost every observation there is another one of the same walk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attar.console import track
from attar.errors import InputError
from attar.geo.occurrences import UNKNOWN_DAY, Occurrences
from attar.geo.prior import GeoPrior

CELLS = 2
"""H3's resolution of cells that are held out: 87,000 square kilometres on average."""
HELD_OUT = 0.2
FEWEST_CELLS = 5
"""With fewer cells than this nothing can be said of unseen places."""


@dataclass(frozen=True)
class GeoSpec:
    """How a prior is trained.

    Attributes:
        width, blocks: of the model (`attar.geo.prior`).
        steps: of the optimizer.
        batch_size: observations in a step; as many random places are drawn beside them.
        lr: the highest learning rate, after which it falls as a cosine.
        weight_decay: AdamW's.
        most: observations of one label in an epoch, at most.
        positive: how much an observation counts against an absence; 0: as much as there are labels.
        undated: share of dated observations that are shown without their date, so that the model can do without.
        seed: of everything random.
    """

    width: int = 128
    blocks: int = 4
    steps: int = 2000
    batch_size: int = 512
    lr: float = 2e-3
    weight_decay: float = 1e-2
    most: int = 1000
    positive: float = 0.0
    undated: float = 0.2
    seed: int = 0


def fit_prior(seen: Occurrences, spec: GeoSpec) -> GeoPrior:
    """Train a prior -> in evaluation mode. The same observations and spec give the same weights on one machine.

    Raises:
        InputError: fewer than two labels have observations.
    """
    if np.count_nonzero(seen.counts) < 2:
        raise InputError("a prior tells labels apart, and fewer than two of them have observations. Give more.")
    random = np.random.default_rng(spec.seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(spec.seed)
        model = GeoPrior(len(seen.labels), spec.width, spec.blocks).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, spec.steps)
        positive = spec.positive or float(np.count_nonzero(seen.counts))
        batches = _batches(seen, spec, random)
        for _ in track(range(spec.steps), "Training the prior", spec.steps):
            where, label = next(batches)
            loss = assume_negative(model.logits(where), model.logits(_anywhere(len(where), random)), label, positive)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def assume_negative(
    logits: torch.Tensor, elsewhere: torch.Tensor, label: torch.Tensor, positive: float
) -> torch.Tensor:
    """The loss L_AN-full of arXiv 2306.02564 (section 3.2), a scalar.

    Args:
        logits: at observations, float (N, labels).
        elsewhere: at random places, float (N, labels).
        label: of the observations, int64 (N,).
        positive: weight of an observation, the paper's lambda.
    """
    softplus = torch.nn.functional.softplus
    absent = softplus(logits) + softplus(elsewhere)  # -log(1 - p)
    own = logits.gather(1, label[:, None])
    return (absent.sum(1) + (positive * softplus(-own) - softplus(own))[:, 0]).mean() / logits.shape[1]


def _batches(seen: Occurrences, spec: GeoSpec, random: np.random.Generator) -> Any:
    """Places with days float32 (N, 3) and labels int64 (N,), for ever."""
    everything = np.column_stack([seen.places, seen.days]).astype(np.float32)
    of_label = [np.flatnonzero(seen.label == number) for number in range(len(seen.labels))]
    while True:
        shown = np.concatenate([random.permutation(rows)[: spec.most] for rows in of_label])
        random.shuffle(shown)
        size = min(spec.batch_size, len(shown))
        for start in range(0, len(shown) - size + 1, size):
            rows = shown[start : start + size]
            where = everything[rows].copy()
            where[random.random(size) < spec.undated, 2] = UNKNOWN_DAY
            yield torch.from_numpy(where), torch.from_numpy(seen.label[rows])


def _anywhere(count: int, random: np.random.Generator) -> torch.Tensor:
    """Places spread evenly over the globe, and days over the year, float32 (N, 3); some without a day."""
    latitude = np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    days = np.where(random.random(count) < 0.2, UNKNOWN_DAY, random.integers(1, 367, count))
    return torch.from_numpy(np.column_stack([latitude, random.uniform(-180, 180, count), days]).astype(np.float32))


@torch.no_grad()
def predict(model: GeoPrior, places: np.ndarray, days: np.ndarray, batch_size: int = 4096) -> np.ndarray:
    """Places, degrees (N, 2), and days of the year (N,) -> how likely each label is met there, (N, labels).

    In the model's precision: float32, or float64 if it was made so.
    """
    where = torch.from_numpy(np.column_stack([places, days])).to(model.stem.weight.dtype)
    return np.concatenate([model(part).numpy() for part in where.split(batch_size)])


def cells_of(places: np.ndarray, resolution: int = CELLS) -> np.ndarray:
    """The H3 cell of each place, str (N,)."""
    import h3

    return np.array([h3.latlng_to_cell(latitude, longitude, resolution) for latitude, longitude in places.tolist()])


def held_out(places: np.ndarray, seed: int = 0, share: float = HELD_OUT) -> np.ndarray:
    """Which places are in cells that are held out, bool (N,)."""
    return _drawn(places, seed) < share


def folds_of(places: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """The fold that each place's cell is dealt to, int64 (N,)."""
    numbers: np.ndarray = (_drawn(places, seed) * folds).astype(np.int64)
    return numbers


def _drawn(places: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each place, float64 (N,), one for a cell: by a hash, so that it depends on no other."""
    cells, which = np.unique(cells_of(places), return_inverse=True)
    numbers = [
        int.from_bytes(hashlib.sha256(f"{seed} {cell}".encode()).digest()[:8], "big") / 2**64 for cell in cells.tolist()
    ]
    return np.array(numbers)[which]


def told_of_unseen_places(seen: Occurrences, spec: GeoSpec) -> dict[str, Any]:
    """Train without some cells, and look at the observations in them, as plain data.

    Returns:
        `observations` and `cells` that were held out; `nats`: mean of -log of the label's share of all labels' priors,
        and `nats_by_frequency` of the shares that labels have anywhere; `reason` instead, where nothing can be said.
    """
    out = held_out(seen.places, spec.seed)
    cells = len(set(cells_of(seen.places).tolist()))
    inside = out & (np.isin(seen.label, seen.label[~out]))
    if cells < FEWEST_CELLS or not inside.any() or np.count_nonzero(seen.taken(~out).counts) < 2:
        return {
            "reason": f"the observations lie in {cells} cells of some 87,000 square kilometres, too few to hold out"
        }
    model, there = fit_prior(seen.taken(~out), spec), seen.taken(inside)
    prior = predict(model, there.places, there.days).astype(np.float64) + 1e-9
    rows = np.arange(len(there))
    counts = seen.taken(~out).counts
    shares = counts[there.label] / counts.sum()
    return {
        "observations": len(there),
        "cells": len(set(cells_of(there.places).tolist())),
        "nats": float(-np.log(prior[rows, there.label] / prior[:, counts > 0].sum(1)).mean()),
        "nats_by_frequency": float(-np.log(shares).mean()),
    }
