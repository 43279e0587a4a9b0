"""Loading somebody's weights safely: safetensors, or torch files without unpickling code."""

from __future__ import annotations

import argparse
import importlib.util
import pickle
import re
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from attar.errors import InputError, did_you_mean

_WEIGHTS = frozenset({".pth", ".pt", ".safetensors"})
_SMALLEST = 1 << 20
"""Bytes: what is smaller is a test's."""


def read_state_dict(path: Path | str) -> dict[str, torch.Tensor]:
    """Read tensors from a `.safetensors`, `.pth`, `.pt` or `.bin` file.

    The usual wrappers are undone: `state_dict_ema`, `state_dict`, `model_state_dict` (tutorials), `model`, and a prefix
    that all names share (`module.` of DataParallel, `_orig_mod.` of torch.compile, `model.` of Lightning; others when
    they are loaded, see `load_weights`). timm's own trainer keeps its arguments in the file, an `argparse.Namespace`:
    the one class that is let through, as it runs no code.

    Raises:
        InputError: no such file, cut short, or a file that only unpickling (running its code) could read.
    """
    path = _located(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return _unwrapped(path, load_file(path))
        except SafetensorError as error:
            raise InputError(f"{path}: not a whole safetensors file ({error}). Download or copy it again.") from error
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything on damaged input
        raise _unreadable(path, error) from error
    return _unwrapped(path, content)


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], *, source: str, head: str) -> list[str]:
    """Copy `weights` into `model`; return the names of the model's tensors they did not hold.

    `head` is the name of the classifier's module. A classifier for another number of classes is left
    as it is when the model's own is to be fitted anyway. Weights whose names are foreign but whose shapes
    agree tensor by tensor, in order, are taken in order (the same network, written by another library).

    Raises:
        InputError: the weights belong to another architecture.
    """
    own = model.state_dict()
    weights = {name: tensor for name, tensor in weights.items() if isinstance(tensor, torch.Tensor)}
    weights = _without_prefix(own, weights)
    if not set(own) & set(weights):
        weights = _by_order(own, weights, source)
    body = {name for name in own if not name.startswith(f"{head}.")}
    # The batch counters matter to no result, and checkpoints from elsewhere often lack them.
    missing = sorted(name for name in body - set(weights) if not name.endswith("num_batches_tracked"))
    wrong = sorted(name for name in body & set(weights) if own[name].shape != weights[name].shape)
    if missing or wrong:
        example = (
            missing[0] if missing else f"{wrong[0]} {tuple(weights[wrong[0]].shape)}, not {tuple(own[wrong[0]].shape)}"
        )
        raise InputError(
            f"{source}: weights of another architecture: {len(missing)} of {len(body)} tensors missing and "
            f"{len(wrong)} of another shape (the first: {example}). Name the architecture the file was saved from."
        )
    taken = {name: weights[name] for name in own if name in weights and own[name].shape == weights[name].shape}
    model.load_state_dict(taken, strict=False)
    return sorted(set(own) - set(taken))


def installed_weights() -> list[str]:
    """The weights that come with installed packages, each as `package://name/file`, for `checkpoint`."""
    weights = set()
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            package = file.parts[0]
            if file.suffix in _WEIGHTS and package.isidentifier() and len(file.parts) > 1:
                path = Path(str(distribution.locate_file(file)))
                if path.is_file() and path.stat().st_size > _SMALLEST:
                    weights.add(f"package://{package}/{'/'.join(file.parts[1:])}")
    return sorted(weights)


def unknown_model(name: str, names: list[str], what: str) -> InputError:
    """The error for a model name that does not exist, with close matches."""
    return InputError(f"{what} {name!r}: no such timm model.{did_you_mean(name, names)} See timm.list_models().")


def _located(path: Path | str) -> Path:
    """`package://name/file` is a file that comes with an installed package; anything else is a path."""
    scheme, separator, rest = str(path).partition("://")
    if not separator:
        return Path(path)
    package, _, file = rest.partition("/")
    spec = importlib.util.find_spec(package) if scheme == "package" and package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise InputError(
            f"{path}: no installed package {package!r} holds this file. Install it (the recipes of attar need: "
            'pip install "attar[recipes]"), or give a path.'
        )
    return Path(spec.origin).parent / file


def _unreadable(path: Path, error: Exception) -> InputError:
    # A class or function that the file names; a name that was cut short has no part after its last dot.
    if isinstance(error, pickle.UnpicklingError) and re.search(r"GLOBAL [\w.]*\.\w+ ", str(error)):
        return InputError(
            f"{path}: reading it would run code stored in the file (unpickling), which attar never does. "
            "Save the weights alone, with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
        )
    # torch's own text for damaged pickles advises to run their code.
    reason = (
        "its content makes no sense" if isinstance(error, pickle.UnpicklingError) else str(error).partition("\n")[0]
    )
    return InputError(f"{path}: not a whole torch file ({reason or 'it ends early'}). Download or copy it again.")


def _unwrapped(path: Path, content: object) -> dict[str, torch.Tensor]:
    for key in ("state_dict_ema", "state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(v, torch.Tensor) for v in content.values()):
        raise InputError(f"{path}: holds no weights (a mapping of names to tensors was expected).")
    tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
    for prefix in ("module.", "_orig_mod."):  # DataParallel, torch.compile
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _without_prefix(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without the prefix that makes most of their names the model's own (`model.`, `backbone.`, ...).

    Tensors outside it, such as a loss's, are left out.
    """
    fits = Counter(
        name.removesuffix(end)
        for name in weights
        for end in (name.split(".", depth)[-1] for depth in range(name.count(".") + 1))
        if end in own
    )
    prefix, count = max(fits.items(), key=lambda item: (item[1], -len(item[0])), default=("", 0))
    if not prefix or count <= fits.get("", 0):
        return dict(weights)
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _by_order(
    own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    counters = "num_batches_tracked"
    names = [name for name in own if not name.endswith(counters)]
    tensors = [tensor for name, tensor in weights.items() if not name.endswith(counters)]
    matches = len(names) == len(tensors)
    # The last two tensors are the classifier, whose size may differ.
    if not matches or any(own[n].shape != t.shape for n, t in list(zip(names, tensors))[:-2]):
        raise InputError(f"{source}: no tensor of it has a name of this architecture. Name the one it was saved from.")
    renamed = dict(zip(names, tensors))
    counts = {name: own[name] for name in own if name.endswith(counters)}
    return {**renamed, **counts}
