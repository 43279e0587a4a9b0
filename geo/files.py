"""A prior on disk, as a folder: model.safetensors, prior.json with its labels and what is known of it, and snippets.

Files for phones (`attar.export.geo_files`) lie in the same folder. `prior.json` lists them, and says how their answers
join a photo's, so it is all that an app needs to know.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from attar.errors import InputError
from attar.files import inside, read_sealed, replacing, sha256, write_sealed
from attar.geo.combine import Combination
from attar.geo.gain import HeldOut
from attar.geo.prior import INPUTS, GeoPrior
from attar.geo.snippets import write_snippets

SCHEMA = 1
ABOUT, WEIGHTS = "prior.json", "model.safetensors"
FOLDS = "folds.safetensors"
"""The priors of the folds (`attar.geo.gain`), where they were trained: what photos gain is told by them."""


@dataclass(frozen=True)
class PriorFile:
    """A prior in a phone's format, as `attar.export.geo_files` wrote and verified it.

    Attributes:
        format: such as `litert`.
        file: its name in the prior's folder.
        sha256: of its content.
        bytes: its size.
        verification: plain data: how far its answers are from the prior's, and at how many places.
        versions: of the packages that made and ran it.
    """

    format: str
    file: str
    sha256: str
    bytes: int
    verification: dict[str, Any]
    versions: dict[str, str | None]


@dataclass(frozen=True)
class Prior:
    """A trained prior.

    Attributes:
        model: from places and days to labels.
        labels: their names, in the order of its outputs.
        counts: observations of each, int64 (labels,).
        metrics: plain data: what was measured of it.
        combination: how it joins a photo's answer.
        fitted: plain data: on what that was fitted; None: it was not, and the numbers are iNaturalist's.
        files: in phones' formats.
        weights_sha256: of its weights on disk; empty before it is saved.
        folds: plain data: `count` and `seed` of the folds whose priors lie beside it, and the file's `sha256`; None:
            there are none.
    """

    model: GeoPrior
    labels: tuple[str, ...]
    counts: np.ndarray
    metrics: dict[str, Any] = field(default_factory=dict)
    combination: Combination = field(default_factory=Combination)
    fitted: dict[str, Any] | None = None
    files: tuple[PriorFile, ...] = ()
    weights_sha256: str = ""
    folds: dict[str, Any] | None = None

    @property
    def observed(self) -> np.ndarray:
        """Whether each label has any observation, bool (labels,)."""
        known: np.ndarray = self.counts > 0
        return known


def save(prior: Prior, path: Path, held: HeldOut | None = None) -> None:
    """Write a prior, and those of the folds if there are any; whole or not at all.

    Raises:
        InputError: something else lies there, which would be lost.
    """
    from safetensors.torch import save_file

    if path.exists() and not (path / ABOUT).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: holds other files, and a prior would replace them. Choose another folder.")
    with replacing(path) as folder:
        folder.mkdir()
        save_file(_tensors(prior.model), folder / WEIGHTS)
        folds = None
        if held:
            save_file(
                {f"{n}.{name}": each for n, model in enumerate(held.models) for name, each in _tensors(model).items()},
                folder / FOLDS,
            )
            folds = {"count": len(held.models), "seed": held.seed, "sha256": sha256(folder / FOLDS)}
        described = replace(prior, weights_sha256=sha256(folder / WEIGHTS), files=(), folds=folds)
        describe(described, folder)
        write_snippets(folder)


def _tensors(model: GeoPrior) -> dict[str, Any]:
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def describe(prior: Prior, path: Path) -> None:
    """Write what is known of a prior that lies at `path`: its files, its combination and the rest."""
    about = {
        "schema": SCHEMA,
        "architecture": prior.model.architecture,
        "inputs": list(INPUTS),
        "labels": list(prior.labels),
        "counts": prior.counts.tolist(),
        "metrics": prior.metrics,
        "combination": {**prior.combination.to_json(), "fitted": prior.fitted},
        "files": [asdict(each) for each in prior.files],
        "weights_sha256": prior.weights_sha256,
        "folds": prior.folds,
    }
    write_sealed(path / ABOUT, about)


def is_prior(path: Path) -> bool:
    """Whether a prior lies at `path`."""
    return (path / ABOUT).is_file()


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
    joined = dict(about.get("combination", {"floor": Combination.floor, "weight": Combination.weight}))
    fitted = joined.pop("fitted", None)
    made = tuple(PriorFile(**each) for each in about.get("files", ()))
    for each in made:
        inside(path, each.file, path / ABOUT)
    return Prior(
        model.eval(),
        tuple(about["labels"]),
        np.array(about["counts"], np.int64),
        about["metrics"],
        Combination(**joined),
        fitted,
        made,
        about["weights_sha256"],
        about.get("folds"),
    )


def load_folds(path: Path) -> HeldOut | None:
    """The priors of the folds that lie beside a prior; None where it was fitted without photos.

    Raises:
        InputError: as `load`, and of their file.
    """
    from safetensors.torch import load_file

    prior = load(path)
    if not prior.folds:
        return None
    if not (path / FOLDS).is_file() or sha256(path / FOLDS) != prior.folds["sha256"]:
        raise InputError(f"{path / FOLDS}: missing, damaged or cut short. Make the prior again.")
    tensors = load_file(path / FOLDS)
    models = tuple(GeoPrior(**prior.model.architecture).eval() for _ in range(prior.folds["count"]))
    for number, model in enumerate(models):
        model.load_state_dict({name: tensors[f"{number}.{name}"] for name in model.state_dict()})
    return HeldOut(models, prior.folds["seed"])
