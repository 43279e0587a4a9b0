"""Making a teacher by name, saving it as a bundle, and loading it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional

from attar.bundle import Bundle, read_bundle, write_bundle
from attar.checkpoints import load_weights, read_state_dict, unknown_model
from attar.errors import InputError
from attar.hub import create_pretrained
from attar.preprocessing import Preprocessing
from teachers.hybrid import HYBRID, create_hybrid


class Teacher(nn.Module):
    """Takes uint8 images of any size, resizes and normalizes them its own way, gives logits.

    Attributes:
        network: the timm model, normalized images (N, 3, size, size) -> logits (N, classes).
        architecture: plain data that `teachers.load` rebuilds the module from.
        size: side of the square image that the network takes, pixels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.size = int(architecture["size"])
        for name in ("mean", "std"):
            values = torch.tensor(architecture[name], dtype=torch.float32).view(1, 3, 1, 1) * 255
            self.register_buffer(name, values, persistent=False)

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images (N, 3, H, W) -> what the network takes."""
        images = images.float()
        if images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images (N, 3, H, W) in [0, 255] -> float logits (N, classes)."""
        return self.network(self.normalized(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images -> the pooled features (N, D) that the classifier sees: for a linear probe."""
        features = self.network.forward_features(self.normalized(images))  # type: ignore[operator]
        return self.network.forward_head(features, pre_logits=True)  # type: ignore[operator]

    def answers(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """uint8 images (N, 3, H, W) -> all a student can learn from, in one pass.

        `logits` (N, classes); `pooled` (N, D), what the classifier sees; `map` (N, D, h, w): of a ViT the patch tokens
        after the last block, laid out as the image, before the final norm (which makes every token equally long, so
        that no attention is left in their lengths) and without class and register tokens; of a convolutional network
        its last feature map.

        Raises:
            InputError: timm gives no feature map of this architecture.
        """
        network: Any = self.network
        if not hasattr(network, "forward_intermediates"):
            raise InputError(
                f"teacher {self.architecture['name']!r}: timm gives no feature map of it. Choose losses that need only "
                "logits, or another teacher."
            )
        features, (spatial,) = network.forward_intermediates(
            self.normalized(images), indices=1, norm=False, output_fmt="NCHW"
        )
        logits, pooled = network.forward_head(features), network.forward_head(features, pre_logits=True)
        return {"logits": logits, "pooled": pooled, "map": spatial}


def create_teacher(
    name: str,
    num_classes: int,
    *,
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
    options: Mapping[str, Any] | None = None,
    crop: float | None = None,
) -> Teacher:
    """A teacher by name.

    Args:
        name: any timm model, with or without a pretrained tag, or `hybrid_vit` (see `teachers.hybrid`).
        num_classes: length of the logits.
        pretrained: take timm's weights from the hub (needs the network).
        checkpoint: take the weights from this local safetensors or torch file instead; for `hybrid_vit`,
            the weights of its convolutional backbone.
        options: keyword arguments for the architecture, such as `img_size`, `patch_size`, `embed_dim`.
        crop: share of the shorter side that evaluation keeps, in (0, 1]; by default what the weights came with.

    Raises:
        InputError: unknown name, an option the model does not take, or a checkpoint of another architecture.
    """
    options = dict(options or {})
    if name == HYBRID:
        network = create_hybrid(num_classes, options, pretrained=pretrained, checkpoint=checkpoint)
    else:
        network = _create_timm(name, num_classes, options, pretrained=pretrained and checkpoint is None)
        if checkpoint is not None:
            head = network.pretrained_cfg["classifier"]
            load_weights(network, read_state_dict(checkpoint), source=str(checkpoint), head=head)
    config = timm.data.resolve_model_data_config(network)
    architecture = {
        "name": name, "num_classes": num_classes, "options": options,
        "size": int(options.get("img_size", config["input_size"][-1])),
        "mean": list(config["mean"]), "std": list(config["std"]),
        "crop": crop or float(config["crop_pct"]), "interpolation": _interpolation(config["interpolation"]),
    }  # fmt: skip
    return Teacher(network, architecture)


def preprocessing_of(teacher: Teacher) -> Preprocessing:
    """How photos become the uint8 images that this teacher evaluates."""
    about = teacher.architecture
    return Preprocessing(about["size"], about["crop"], about["interpolation"])


def load(bundle: Bundle | Path | str) -> Teacher:
    """Rebuild a teacher from its bundle, in evaluation mode."""
    if not isinstance(bundle, Bundle):
        bundle = read_bundle(bundle, "teacher")
    about = bundle.architecture
    if about["name"] == HYBRID:
        network = create_hybrid(about["num_classes"], about["options"])
    else:
        network = _create_timm(about["name"], about["num_classes"], about["options"])
    teacher = Teacher(network, about)
    teacher.load_state_dict(bundle.state_dict())
    return teacher.eval()


def save(
    teacher: Teacher,
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
        path, kind="teacher", architecture=teacher.architecture, state_dict=teacher.state_dict(), labels=labels,
        preprocessing=preprocessing_of(teacher), provenance=provenance, metrics=metrics,
    )  # fmt: skip


def _create_timm(name: str, num_classes: int, options: Mapping[str, Any], pretrained: bool = False) -> Any:
    if not timm.is_model(name):
        raise unknown_model(name, [HYBRID, *timm.list_models()], "teacher")
    try:
        if pretrained:
            return create_pretrained("teacher", name, num_classes=num_classes, **options)
        return timm.create_model(name, num_classes=num_classes, **options)
    except TypeError as error:
        raise InputError(f"teacher {name!r}: does not take these options ({error}).") from error


def _interpolation(name: str) -> str:
    return name if name in ("bilinear", "bicubic") else "bicubic"
