"""A teacher as a torch module: uint8 images in, logits and features out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from attar.errors import InputError
from attar.mid_features import middle, reductions_of
from attar.teachers.hybrid import maps_inside


class Teacher(nn.Module):
    """Takes uint8 images of any size, resizes and normalizes them its own way, gives logits.

    Attributes:
        network: the timm model, normalized images (N, 3, *shape) -> logits (N, classes).
        architecture: plain data that `teachers.load` rebuilds the module from.
        size: side of the square images that evaluation and views give it, pixels.
        shape: height and width of what the network takes, pixels: both `size`, unless it takes images that are not
            square. To those the square ones are distorted, in training as in evaluation.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.size = int(architecture["size"])
        height, width = architecture.get("shape", (self.size, self.size))
        self.shape = (int(height), int(width))
        for name in ("mean", "std"):
            values = torch.tensor(architecture[name], dtype=torch.float32).view(1, 3, 1, 1) * 255
            self.register_buffer(name, values, persistent=False)

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images (N, 3, H, W) -> what the network takes."""
        images = images.float()
        if images.shape[-2:] != self.shape:
            images = functional.interpolate(images, self.shape, mode="bilinear", antialias=True)
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images (N, 3, H, W) in [0, 255] -> float logits (N, classes)."""
        return self.network(self.normalized(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images -> the pooled features (N, D) that the classifier sees: for a linear probe."""
        features = self.network.forward_features(self.normalized(images))  # type: ignore[operator]
        return self.network.forward_head(features, pre_logits=True)  # type: ignore[operator]

    def outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """uint8 images (N, 3, H, W) -> all a student can learn from, in one pass.

        `logits` (N, classes); `pooled` (N, D), what the classifier sees; `feature_map` (N, D, h, w): of a ViT the patch
        tokens after the last block, laid out as the image, before the final norm (which makes every token equally long,
        so that no attention is left in their lengths) and without class and register tokens; of a convolutional network
        its last feature map; `mid_features` (N, D, h, w), the map in the middle (`attar.mid_features`), likewise
        without norm.

        Raises:
            InputError: timm gives no feature map of this architecture.
        """
        network: Any = self.network
        if not hasattr(network, "forward_intermediates"):
            raise InputError(
                f"teacher {self.architecture['name']!r}: timm gives no feature map of it. Choose losses that need only "
                "logits, or another teacher."
            )
        reductions = reductions_of(network)
        indices = [middle(reductions), len(reductions) - 1]
        with maps_inside(network) as inside:
            features, maps = network.forward_intermediates(
                self.normalized(images), indices=indices, norm=False, output_fmt="NCHW"
            )
        between, spatial = (inside or maps)[0], maps[-1]
        logits, pooled = network.forward_head(features), network.forward_head(features, pre_logits=True)
        return {"logits": logits, "pooled": pooled, "feature_map": spatial, "mid_features": between}
