"""The bundle: a model on disk, as a folder that anyone with json and safetensors can read.

    model.safetensors   the weights
    bundle.json         architecture, labels, preprocessing, provenance, metrics

A bundle is data. Turning one into a torch module is `students.load(path)` or `teachers.load(path)`,
because only those packages know the architectures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attar.errors import InputError
from attar.files import digest_of, read_json, replacing, sha256, write_sealed
from attar.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

SCHEMA = 1
"""Version of `bundle.json`; a reader refuses any other."""

Kind = Literal["teacher", "student"]


@dataclass(frozen=True)
class Bundle:
    """A model on disk. `architecture` is plain data that the owning package rebuilds the module from."""

    path: Path
    kind: Kind
    architecture: dict[str, Any]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    weights_sha256: str
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The architecture's name, for tables and messages."""
        return str(self.architecture.get("name", self.path.name))

    @property
    def fingerprint(self) -> str:
        """Identity of what the model computes: weights, architecture, labels and preprocessing."""
        return digest_of([self.weights_sha256, self.architecture, list(self.labels), self.preprocessing.to_json()])

    @property
    def network_fingerprint(self) -> str:
        """Identity of the network alone: other names for the classes change nothing in it."""
        return digest_of([self.weights_sha256, self.architecture, self.preprocessing.to_json()])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights, checked against the hash that `bundle.json` holds."""
        from safetensors.torch import load_file

        weights = self.path / "model.safetensors"
        if not weights.is_file():
            raise InputError(f"{weights}: missing. The bundle is incomplete; make it again.")
        if sha256(weights) != self.weights_sha256:
            raise InputError(
                f"{weights}: its content does not match bundle.json (damaged or cut short). Make it again."
            )
        return load_file(weights)


@contextmanager
def rebuilding(bundle: Bundle) -> Iterator[None]:
    """While a bundle's module is built and its weights are loaded: whatever fails is an error that names the bundle."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{bundle.path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{bundle.path}: its weights do not fit the architecture in bundle.json ({bundle.name}). Either was "
            "edited, or another version of timm built it; make the bundle again."
        ) from error


def write_bundle(
    path: Path,
    *,
    kind: Kind,
    architecture: Mapping[str, Any],
    state_dict: Mapping[str, torch.Tensor],
    labels: Sequence[str],
    preprocessing: Preprocessing,
    provenance: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle atomically and return it as `read_bundle` would.

    Raises `InputError` when `path` holds something else than a bundle, which would be lost.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.exists() and not (path / "bundle.json").is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: holds other files, and a bundle would replace them. Choose another folder.")

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    with replacing(path) as folder:
        folder.mkdir()
        save_file(tensors, folder / "model.safetensors")
        document = {
            "schema": SCHEMA,
            "kind": kind,
            "architecture": dict(architecture),
            "labels": list(labels),
            "preprocessing": preprocessing.to_json(),
            "weights_sha256": sha256(folder / "model.safetensors"),
            "provenance": dict(provenance or {}),
            "metrics": dict(metrics or {}),
        }
        write_sealed(folder / "bundle.json", document)
    return read_bundle(path)


def as_bundle(given: Bundle | Path | str, kind: Kind | None = None) -> Bundle:
    """A bundle as it is, or read from where it lies."""
    return given if isinstance(given, Bundle) else read_bundle(given, kind)


def read_bundle(path: Path | str, kind: Kind | None = None) -> Bundle:
    """Read a bundle's description; weights are read by `Bundle.state_dict`.

    Raises `InputError` when the folder is no bundle, is damaged, was written by another schema
    version, or is not of the `kind` asked for.
    """
    path = Path(path)
    if not (path / "bundle.json").is_file():
        raise InputError(f"{path}: not a bundle (no bundle.json). Make one with `attar teach` or `attar distill`.")
    document = read_json(path / "bundle.json")
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{path / 'bundle.json'}: schema version {schema}, and this attar reads version {SCHEMA}. "
            "Use the attar that wrote it, or make the bundle again."
        )
    digest = document.pop("sha256", None)  # bundles of version 0.1 have none
    if digest is not None and digest != digest_of(document):
        raise InputError(f"{path / 'bundle.json'}: damaged or edited: its own checksum is another one. Make it again.")
    try:
        _check_types(document)
        bundle = Bundle(
            path=path,
            kind=document["kind"],
            architecture=document["architecture"],
            labels=tuple(document["labels"]),
            preprocessing=Preprocessing.from_json(document["preprocessing"]),
            weights_sha256=document["weights_sha256"],
            provenance=document["provenance"],
            metrics=document["metrics"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path / 'bundle.json'}: incomplete or damaged ({error!r}). Make the bundle again."
        ) from error
    if kind is not None and bundle.kind != kind:
        raise InputError(f"{path}: holds a {bundle.kind}, and a {kind} is needed here.")
    return bundle


def _check_types(document: Mapping[str, Any]) -> None:
    if document["kind"] not in ("teacher", "student"):
        raise ValueError(f"kind {document['kind']!r}")
    labels = document["labels"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise TypeError("labels are not a list of strings")
    for key in ("architecture", "preprocessing", "provenance", "metrics"):
        if not isinstance(document[key], dict):
            raise TypeError(f"{key} is not an object")
    if not isinstance(document["weights_sha256"], str):
        raise TypeError("weights_sha256 is not a string")
