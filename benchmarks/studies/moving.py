"""What the studies of batch norms and of few photos share: students with the statistics they had while they trained.

attar measures a model's batch norms anew when it is trained (`attar.train.batchnorm`). These studies ask what that is
worth, so they need the same model with its moving statistics too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from attar.data.photos import Photos, labels_of
from attar.files import digest_of
from attar.train.batchnorm import norms_of
from attar.train.evaluation import TrainingSample

Statistics = list[tuple[torch.Tensor, torch.Tensor]]


def statistics_of(model: nn.Module) -> Statistics:
    """Means and variances of a model's batch norms, in its order of modules."""
    kept = [(norm.running_mean, norm.running_var) for norm in norms_of(model)]
    return [(mean.cpu().clone(), var.cpu().clone()) for mean, var in kept if mean is not None and var is not None]


def give(model: nn.Module, statistics: Statistics) -> nn.Module:
    """Put such statistics into the batch norms of a model, in place."""
    norms = norms_of(model)
    if len(norms) != len(statistics):
        raise ValueError(f"statistics of {len(statistics)} batch norms for a model with {len(norms)}")
    for norm, (mean, var) in zip(norms, statistics):
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
    return model


@contextmanager
def as_trained() -> Iterator[None]:
    """A block in which models keep their moving statistics, as in version 0.1."""
    with patch.object(TrainingSample, "remeasure", lambda self, model: None):
        yield


@contextmanager
def caught() -> Iterator[list[Statistics]]:
    """A block in which every model's moving statistics are written down before they are replaced; the last is last."""
    seen: list[Statistics] = []
    anew = TrainingSample.remeasure

    def remeasure(self: TrainingSample, model: nn.Module) -> None:
        seen.append(statistics_of(model))
        anew(self, model)

    with patch.object(TrainingSample, "remeasure", remeasure):
        yield seen


def only(photos: Photos, train: np.ndarray, val: np.ndarray | None = None) -> Photos:
    """The photos of those numbers among the training photos; with `val`, these are the validation photos."""
    own = tuple(photos.train[i] for i in np.sort(train))
    judged = photos.val if val is None else tuple(photos.train[i] for i in np.sort(val))
    marks = [photos.fingerprint, np.sort(train).tolist(), None if val is None else np.sort(val).tolist()]
    return replace(photos, train=own, val=judged, fingerprint=digest_of(marks), listing=())


def stratified(photos: Photos, seed: int) -> np.ndarray:
    """All training photos' numbers in an order by the seed, in which every beginning has each class with its share."""
    labels = labels_of(photos.train)
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))  # of a photo within its class, as a share of the class
    for label in np.unique(labels):
        own = order[labels[order] == label]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return order[np.argsort(place[order], kind="stable")]


def even(photos: Photos, seed: int) -> np.ndarray:
    """Training photos' numbers in an order by the seed, class after class in turn, until one class has no more."""
    labels = labels_of(photos.train)
    order = np.random.default_rng(seed).permutation(len(labels))
    rows = [order[labels[order] == label] for label in np.unique(labels)]
    return np.stack([row[: min(map(len, rows))] for row in rows], axis=1).ravel()
