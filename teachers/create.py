"""Making a teacher by name, saving it as a bundle, and loading it back."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import timm
import torch

from attar import architectures
from attar.bundle import Bundle, read_bundle, rebuilding, write_bundle
from attar.errors import InputError
from attar.preprocessing import Preprocessing
from attar.pretrained.files import load_weights, read_state_dict, unknown_model
from attar.pretrained.hub import create_pretrained
from attar.teachers.ensemble import ENSEMBLE, Ensemble
from attar.teachers.hybrid import HYBRID, create_hybrid, without_spare_layers
from attar.teachers.teacher import Teacher
from attar.teachers.zero_shot import ZeroShot


def create_teacher(
    name: str,
    num_classes: int,
    *,
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
    options: Mapping[str, Any] | None = None,
    crop: float | None = None,
    fit: str | None = None,
) -> Teacher:
    """A teacher by name.

    Args:
        name: any timm model, with or without a pretrained tag, or `hybrid_vit` (see `attar.teachers.hybrid`).
        num_classes: length of the logits.
        pretrained: take timm's weights from the hub (needs the network).
        checkpoint: take the weights from this local safetensors or torch file instead; for `hybrid_vit`,
            the weights of its convolutional backbone.
        options: keyword arguments for the architecture, such as `img_size`, `patch_size`, `embed_dim`.
        crop: share of the resized side that evaluation keeps, in (0, 1]; by default what the weights came with.
        fit: how evaluation makes a photo square, one of `attar.preprocessing.FITS`; by default what the weights came
            with (`crop_mode` in timm).

    Raises:
        InputError: unknown name, an option the model does not take, or a checkpoint of another architecture.
    """
    options = dict(options or {})
    if name == HYBRID:
        network = create_hybrid(num_classes, options, pretrained=pretrained, checkpoint=checkpoint)
    else:
        network = _create_timm(name, num_classes, options, pretrained=pretrained and checkpoint is None)
        if checkpoint is not None:
            _load_checkpoint(network, checkpoint, head=network.pretrained_cfg["classifier"])
    return _tried(Teacher(network, {"num_classes": num_classes, **_about(network, name, options, crop, fit)}))


def create_zero_shot(
    name: str,
    text: torch.Tensor,
    *,
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
    options: Mapping[str, Any] | None = None,
    crop: float | None = None,
    fit: str | None = None,
    scale: float = 100.0,
    bias: float = 0.0,
) -> Teacher:
    """A teacher that compares images with text (`attar.teachers.zero_shot`).

    Args:
        name: a timm image tower, such as `vit_base_patch16_clip_224.openai` or `vit_base_patch16_siglip_224`.
        text: an embedding of unit length a class, float32 (classes, dim).
        pretrained: as for `create_teacher`; one of this and `checkpoint` is needed, since nothing is trained.
        checkpoint: as for `create_teacher`, the tower's projection included.
        options: as for `create_teacher`.
        crop, fit: as for `create_teacher`.
        scale: what cosines are multiplied by.
        bias: what is then added.

    Raises:
        InputError: unknown name, no weights, or embeddings of another length than the tower's.
    """
    if not pretrained and checkpoint is None:
        raise InputError(
            f"teacher {name!r}: a zero-shot teacher is not trained here, so it needs pretrained weights. Name a file "
            "with teacher.checkpoint, or set teacher.pretrained to true."
        )
    options = dict(options or {})
    tower = _create_timm(name, None, options, pretrained=checkpoint is None)
    if checkpoint is not None:
        _load_checkpoint(tower, checkpoint)
    compared: dict[str, Any] = {"dim": text.shape[1], "scale": scale, "bias": bias}
    network = ZeroShot(tower, len(text), **compared)
    network.text.copy_(text)
    return Teacher(
        network, {"num_classes": len(text), **_about(tower, name, options, crop, fit), "zero_shot": compared}
    )


def preprocessing_of(teacher: Teacher | Ensemble) -> Preprocessing:
    """How photos become the uint8 images that this teacher evaluates."""
    about = teacher.architecture
    if "fit" not in about:  # made by attar 0.1
        return Preprocessing(about["size"], about["crop"], about["interpolation"], geometry=1)
    return Preprocessing(about["size"], about["crop"], about["interpolation"], about["fit"], tuple(about["fill"]))


def load(bundle: Bundle | Path | str) -> Teacher | Ensemble:
    """Rebuild a teacher from its bundle, in evaluation mode."""
    if not isinstance(bundle, Bundle):
        bundle = read_bundle(bundle, "teacher")
    weights = bundle.state_dict()
    with rebuilding(bundle):
        teacher = _rebuilt(bundle.architecture)
        teacher.load_state_dict(without_spare_layers(teacher, weights))
    return teacher.eval()


def save(
    teacher: Teacher | Ensemble,
    path: Path,
    *,
    labels: Sequence[str],
    provenance: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a teacher as a bundle."""
    if len(labels) != teacher.architecture["num_classes"]:
        raise InputError(f"{len(labels)} labels for a teacher of {teacher.architecture['num_classes']} classes.")
    return write_bundle(
        path,
        kind="teacher",
        architecture=teacher.architecture,
        state_dict=teacher.state_dict(),
        labels=labels,
        preprocessing=preprocessing_of(teacher),
        provenance=provenance,
        metrics=metrics,
    )


def _rebuilt(about: dict[str, Any]) -> Teacher | Ensemble:
    """A teacher of this architecture, its weights still to be loaded."""
    name, classes = about["name"], about["num_classes"]
    if name == ENSEMBLE:
        return Ensemble([_rebuilt(member) for member in about["members"]], about["weights"])
    if name == HYBRID:
        return Teacher(create_hybrid(classes, about["options"]), about)
    if "zero_shot" in about:
        return Teacher(ZeroShot(_create_timm(name, None, about["options"]), classes, **about["zero_shot"]), about)
    return Teacher(_create_timm(name, classes, about["options"]), about)


def _about(network: Any, name: str, options: dict[str, Any], crop: float | None, fit: str | None) -> dict[str, Any]:
    """Name and options of an architecture, and how images are prepared for it: as its weights were trained."""
    config = timm.data.resolve_model_data_config(network)
    height, width = _shape(name, options.get("img_size", config["input_size"][-2:]))
    return {
        "name": name,
        "options": options,
        "size": max(height, width),
        **({} if height == width else {"shape": [height, width]}),
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "crop": crop or float(config["crop_pct"]),
        "interpolation": _interpolation(config["interpolation"]),
        "fit": fit or _FITS[config.get("crop_mode") or "center"],
        "fill": [round(255 * value) for value in config["mean"]],  # as timm pads
    }


_FITS = {"center": "crop", "squash": "squash", "border": "pad"}
"""timm's crop_mode -> `attar.preprocessing.FITS`."""


def _shape(name: str, size: Any) -> tuple[int, int]:
    """Height and width of what a network takes, pixels, from timm's `img_size`: a side, or both."""
    sides = [size, size] if isinstance(size, int) else size
    pixels = isinstance(sides, (list, tuple)) and len(sides) == 2
    if not pixels or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise InputError(
            f"teacher {name!r}: img_size {size!r} is neither a number of pixels nor [height, width] in pixels."
        )
    return int(sides[0]), int(sides[1])


def _load_checkpoint(network: Any, checkpoint: Path | str, *, head: str = "(none)") -> None:
    """Put the weights of a local file into a timm model, converted as timm converts those of the hub.

    That resamples position embeddings and patch embeddings to the model's grid, and takes the names that the authors
    of CLIP, DINOv2 and others gave. `head` is the classifier, which may be missing from the file or of other classes.
    """
    weights = read_state_dict(checkpoint)
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        try:
            with redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):  # timm thinks aloud
                weights = convert(weights, network)
        except Exception:  # whatever a foreign file leads to; the error that follows names what is wrong with it
            pass
    load_weights(network, weights, source=str(checkpoint), head=head)


def _create_timm(name: str, num_classes: int | None, options: Mapping[str, Any], pretrained: bool = False) -> Any:
    if not isinstance(name, str) or not timm.is_model(name):
        raise unknown_model(str(name), [HYBRID, *timm.list_models()], "teacher")
    architectures.require_options(name, options, "teacher")
    try:
        if pretrained:
            return create_pretrained("teacher", name, num_classes=num_classes, **options)
    except TypeError as error:
        raise architectures.not_taken("teacher", name, options, error) from error
    return architectures.create("teacher", name, num_classes=num_classes, **options)


def _tried(teacher: Teacher) -> Teacher:
    """The same teacher, once a black image went through it: what an architecture cannot do shows here, not later."""
    about = teacher.architecture
    training = teacher.training
    try:
        with torch.no_grad():
            logits = teacher.eval()(torch.zeros(1, 3, teacher.size, teacher.size, dtype=torch.uint8))
    except Exception as error:
        raise architectures.not_taken("teacher", about["name"], about["options"], error) from error
    if tuple(logits.shape) != (1, about["num_classes"]):
        wrong = InputError(f"it gives {tuple(logits.shape)}, not (1, {about['num_classes']}) logits")
        raise architectures.not_taken("teacher", about["name"], about["options"], wrong)
    return teacher.train(training)


def _interpolation(name: str) -> str:
    return name if name in ("bilinear", "bicubic") else "bicubic"
