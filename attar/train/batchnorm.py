"""Batch-norm statistics of a trained model, measured anew on training photos ("precise batch norm").

While a model trains, a batch norm follows the mean and variance of what it sees by a moving average. After a few dozen
steps that average still lags behind the weights, and so does the average of averaged weights: a student can have
learned its classes and answer one of them for every photo. Here the weights stay, and each norm's statistics become
those of a fixed set of training photos (Wu and Johnson, arXiv 2105.07576, section 3).

The photos are cropped as evaluation crops them. On training views the accuracy would be about the same, and there would
have to be a view policy: `python -m attar.benchmarks.studies.batchnorm`.

Nothing is random here, and nothing is written but the statistics, so a run that was interrupted ends in the same
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attar.inference import to_tensor

BATCH = 64
"""Photos in a forward pass, at most."""


def norms_of(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a model that keep statistics."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


@torch.no_grad()
def remeasure(model: nn.Module, pixels: np.ndarray) -> None:
    """Give the batch norms of `model` the statistics of `pixels`, uint8 (N, H, W, 3), N at least 2.

    Each norm gets the mean over batches, weighed by their photos, of the batches' means and unbiased variances. A batch
    takes every n-th photo: photos come sorted by class, and a batch of one class would lack the variance between
    classes. Every module but the norms is in evaluation mode meanwhile, so no random number is drawn. A norm that a
    forward pass does not reach keeps what it had.
    """
    norms = norms_of(model)
    if not norms:
        return
    training, momenta = model.training, [norm.momentum for norm in norms]
    where = next(model.parameters()).device
    model.eval()
    for norm in norms:
        norm.train()
    seen = 0
    batches = -(-len(pixels) // BATCH)
    for part in (pixels[first::batches] for first in range(batches)):
        seen += len(part)
        for norm in norms:
            norm.momentum = len(part) / seen  # the first batch replaces what was there
        model(to_tensor(part).to(where))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.train(training)


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """A block after which the batch norms of `model` have the statistics they had before it."""
    norms = norms_of(model)
    states = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    try:
        yield
    finally:
        for norm, state in zip(norms, states):
            for name, buffer in norm.named_buffers():
                buffer.copy_(state[name])
