"""A prior on disk, as a folder: model.safetensors, and prior.json with its labels and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attar.errors import InputError
from attar.files import read_sealed, replacing, sha256, write_sealed
from attar.geo.prior import GeoPrior

SCHEMA = 1
ABOUT, WEIGHTS = "prior.json", "model.safetensors"


@dataclass(frozen=True)
class Prior:
    """A trained prior.

    Attributes:
        model: from places and days to labels.
        labels: their names, in the order of its outputs.
        counts: observations of each, int64 (labels,).
        metrics: plain data: what was measured of it.
    """

    model: GeoPrior
    labels: tuple[str, ...]
    counts: np.ndarray
    metrics: dict[str, Any] = field(default_factory=dict)


def save(prior: Prior, path: Path) -> None:
    """Write a prior; whole or not at all.

    Raises:
        InputError: something else lies there, which would be lost.
    """
    from safetensors.torch import save_file

    if path.exists() and not (path / ABOUT).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: holds other files, and a prior would replace them. Choose another folder.")
    with replacing(path) as folder:
        folder.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in prior.model.state_dict().items()}, folder / WEIGHTS)
        about = {
            "schema": SCHEMA,
            "architecture": prior.model.architecture,
            "labels": list(prior.labels),
            "counts": prior.counts.tolist(),
            "metrics": prior.metrics,
            "weights_sha256": sha256(folder / WEIGHTS),
        }
        write_sealed(folder / ABOUT, about)


def load(path: Path | str) -> Prior:
    """Read a prior back.

    Raises:
        InputError: no prior lies there, or it is damaged, or another version wrote it.
    """
    from safetensors.torch import load_file

    path = Path(path)
    if not (path / ABOUT).is_file():
        raise InputError(f"{path}: not a prior of place and season (no {ABOUT}).")
    about = read_sealed(path / ABOUT)
    if about.get("schema") != SCHEMA:
        raise InputError(f"{path / ABOUT}: schema version {about.get('schema')}, and this attar reads {SCHEMA}.")
    weights = path / WEIGHTS
    if not weights.is_file() or sha256(weights) != about["weights_sha256"]:
        raise InputError(f"{weights}: missing, damaged or cut short. Make the prior again.")
    model = GeoPrior(**about["architecture"])
    model.load_state_dict(load_file(weights))
    return Prior(model.eval(), tuple(about["labels"]), np.array(about["counts"], np.int64), about["metrics"])
