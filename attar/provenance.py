"""Where a model came from: enough to make it again."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from attar import __version__
from attar.data.photos import DataSpec, Photos
from attar.data.remote import absolute
from attar.errors import InputError
from attar.extras import version
from attar.files import digest_of
from attar.train import distributed

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "safetensors")


def provenance(photos: Photos, seed: int, recipe: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Plain data for a bundle: the photos, the recipe that was used, versions, seed, and `more`."""
    return {
        "attar": __version__,
        "data": {
            **photos.spec.to_json(),
            "path": absolute(photos.spec.path),
            **_added(photos),
            **_added_unlabelled(photos),
            "fingerprint": photos.fingerprint,
            **photos.to_json(),
            "unlabelled": _unlabelled(photos),
        },
        "recipe": dict(recipe),
        "recipe_sha256": digest_of(dict(recipe)),
        "seed": seed,
        "packages": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "command": shlex.join(sys.argv),
        "computed_on": _computed_on(),
        **more,
    }


def agree_on(photos: Photos, seed: int, **more: Any) -> None:
    """Make sure that all ranks are about to do the same work: an `InputError` names what differs."""
    versions = {name: version(name) for name in _PACKAGES}
    distributed.agree({"photos": photos.fingerprint, "seed": seed, "attar": __version__, "packages": versions, **more})


def _computed_on() -> dict[str, Any]:
    """What besides the recipe decides the last bits of the weights."""
    import torch

    from attar.inference import torch_device

    where = torch_device()
    name = torch.cuda.get_device_name() if where.type == "cuda" else platform.processor() or platform.machine()
    return {"device": where.type, "name": name, "threads": torch.get_num_threads(), "ranks": distributed.count()}


def _added(photos: Photos) -> dict[str, Any]:
    """The added photos by name: of people's observations, that is their ids, so that one can be taken back."""
    if not photos.spec.added:
        return {}
    names = [photos.name(photo) for photo in (*photos.train, *photos.val) if photos.is_added(photo)]
    return {"added": absolute(photos.spec.added), "added_photos": sorted(names)}


def _added_unlabelled(photos: Photos) -> dict[str, Any]:
    """Likewise of those without labels."""
    if not photos.spec.added_unlabelled:
        return {}
    place = absolute(photos.spec.added_unlabelled)
    names = [photos.name(photo) for photo in photos.unlabelled if photo.path.is_relative_to(place)]
    return {"added_unlabelled": place, "added_unlabelled_photos": sorted(names)}


def _unlabelled(photos: Photos) -> dict[str, Any] | None:
    if not photos.unlabelled:
        return None
    path = absolute(photos.spec.unlabelled) if photos.spec.unlabelled else None
    return {"path": path, "photos": len(photos.unlabelled), "fingerprint": photos.unlabelled_fingerprint}


def data_of(provenance: Mapping[str, Any]) -> DataSpec:
    """The photos a bundle was made from, so that a later command need not be told again."""
    data = provenance.get("data")
    if not data:
        raise InputError("The bundle does not say which photos it was made from. Give --data.")
    # Version 0.1 left copies where they are.
    return DataSpec(
        data["path"],
        data["val_fraction"],
        data["seed"],
        classes=data.get("classes", "outer"),
        allow_duplicates=data.get("allow_duplicates", True),
        keep=data.get("keep"),
        added=data.get("added"),
        check=data.get("check", True),
    )
