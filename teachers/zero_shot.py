"""Teachers that were never shown a class: images compared with text (CLIP, arXiv 2103.00020; SigLIP, 2303.15343).

    logits = scale · cosine(image embedding, text embedding of the class) + bias

The image tower is timm's; the text embeddings are a file that the user made with the tower's own text encoder. With
several prompts a class, their embeddings are averaged at unit length (2103.00020, section 3.1.4). SigLIP has a bias,
which makes sigmoid(logits) its probability of a match; in a softmax over classes a bias cancels.

Two kinds of file:

    text.safetensors        a tensor a class, named as the class: (dim,), or (prompts, dim)
    text.npy, text.txt      (classes, dim) or (classes, prompts, dim), and beside it the classes' names, one per line

A class is found by its name, never by its row.
"""

from __future__ import annotations

import math
import unicodedata
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from attar.errors import InputError


class ZeroShot(nn.Module):
    """An image tower whose classifier is text; used as timm's models are.

    Args:
        tower: normalized images -> embeddings (N, dim) of any length.
        classes: rows of text.
        dim: length of an embedding.
        scale: what cosines are multiplied by.
        bias: what is then added.

    Attributes:
        text: an embedding of unit length a class, (classes, dim).
    """

    text: torch.Tensor

    def __init__(self, tower: Any, classes: int, dim: int, scale: float, bias: float) -> None:
        super().__init__()
        classifier = tower.get_classifier()
        own = classifier.out_features if isinstance(classifier, nn.Linear) else tower.num_features
        if own != dim:
            raise InputError(
                f"teacher.text_embeddings: embeddings of {dim} numbers, and the image tower's have {own}. Make them "
                "with the text encoder that belongs to the tower, and name the tower's own weights: what was fitted to "
                "classes afterwards has no embeddings (vit_base_patch16_clip_224.laion2b has)."
            )
        self.tower = tower
        self.scale, self.bias = scale, bias
        self.register_buffer("text", torch.zeros(classes, dim))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized images (N, 3, S, S) -> float32 logits (N, classes)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """The tower's own."""
        return self.tower.forward_features(images)

    @property
    def feature_info(self) -> Any:
        """The tower's."""
        return self.tower.feature_info

    def forward_intermediates(self, images: torch.Tensor, **options: Any) -> Any:
        """The tower's own."""
        return self.tower.forward_intermediates(images, **options)

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """The tower's features -> logits, or with `pre_logits` what is compared: embeddings (N, dim), unit length."""
        embeddings = self.tower.forward_head(features)
        # A cosine in bf16 is good to two digits, and the scale of 100 would make whole numbers of the third.
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = functional.normalize(embeddings.float(), dim=1)
            return embeddings if pre_logits else self.scale * embeddings @ self.text.T + self.bias


def read_text_embeddings(path: Path | str, labels: Sequence[str]) -> torch.Tensor:
    """Read an embedding of unit length for each of `labels`, in their order, float32 (len(labels), dim).

    Raises:
        InputError: no such file, or of another kind; classes missing or too many; a number that is not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file. teacher.text_embeddings names the classes' text embeddings.")
    readers = {".safetensors": _from_safetensors, ".npy": _from_npy}
    if path.suffix not in readers:
        raise InputError(f"{path}: text embeddings are a .safetensors file, or a .npy file with a .txt of names.")
    embeddings = readers[path.suffix](path)
    wanted = set(labels)
    missing = [label for label in labels if label not in embeddings]
    extra = [name for name in embeddings if name not in wanted]
    for which, names in (("without the photos' classes", missing), ("with classes that no photo has:", extra)):
        if names:
            raise InputError(
                f"{path}: text embeddings {which} {_first(names)} ({len(names)} of {len(embeddings)} in the file, "
                f"{len(labels)} classes of photos). Make the file with embeddings for each class, under its name."
            )
    shapes = Counter(values.shape[-1:] for values in embeddings.values())
    if len(shapes) > 1 or any(values.ndim not in (1, 2) or not values.size for values in embeddings.values()):
        raise InputError(f"{path}: every class needs an embedding (dim,) or several (prompts, dim), all of one length.")
    return torch.stack([_direction(path, label, embeddings[label]) for label in labels])


def _direction(path: Path, label: str, values: np.ndarray) -> torch.Tensor:
    """(dim,) or (prompts, dim) -> the mean direction (dim,), unit length."""
    prompts = torch.from_numpy(np.atleast_2d(values).astype(np.float32))
    if not (torch.isfinite(prompts).all() and prompts.norm(dim=1).all()):
        raise InputError(f"{path}: the text embedding of {label!r} is zero, infinite or NaN. Make it again.")
    return functional.normalize(functional.normalize(prompts, dim=1).mean(0), dim=0)


def _from_safetensors(path: Path) -> Mapping[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}). Make it again.") from error
    return {_normal(name): tensor.float().numpy() for name, tensor in tensors.items()}


def _array(path: Path) -> np.ndarray:
    """The array of a .npy file, which may not claim more than the file holds: the memory is taken before it is read."""
    with path.open("rb") as stream, warnings.catch_warnings(action="ignore"):
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
        if math.prod(shape) * dtype.itemsize > path.stat().st_size:
            raise ValueError(f"it is cut short: shape {shape} of {dtype}")
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _from_npy(path: Path) -> Mapping[str, np.ndarray]:
    listed = path.with_suffix(".txt")
    try:
        rows = _array(path)
        names = [_normal(line.strip()) for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    except Exception as error:  # numpy raises anything on a damaged header
        raise InputError(
            f"{path}: needs an array of numbers, and beside it {listed.name} with a class's name a line ({error})."
        ) from error
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{listed}: names {_first(twice)} more than once.")
    if rows.ndim not in (2, 3) or len(rows) != len(names):
        raise InputError(f"{path}: an array of shape {rows.shape}, and {listed.name} has {len(names)} names.")
    if rows.dtype.kind not in "fiu":
        raise InputError(f"{path}: holds {rows.dtype}, not numbers.")
    return dict(zip(names, rows))


def _normal(name: str) -> str:
    """As the photos' labels are, whichever system wrote the name."""
    return unicodedata.normalize("NFC", name)


def _first(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
