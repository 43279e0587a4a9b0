"""Priors of place and season that nobody trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from attar.geo.combine import Combination
from attar.geo.files import Prior, save
from attar.geo.prior import GeoPrior


def random_prior(folder: Path, labels: tuple[str, ...], how: Combination, seed: int = 0) -> Path:
    """A prior with something to say everywhere, and a label that was never met."""
    torch.manual_seed(seed)
    model = GeoPrior(len(labels), width=24, blocks=2).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(2)
    counts = np.arange(len(labels))[::-1].copy()
    save(Prior(model, labels, counts, combination=how), folder)
    return folder
