"""The student: a timm backbone and a head, with the contract's normalization."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from attar.mid_features import middle, reductions_of
from attar.preprocessing import MEAN, STD
from attar.students.familiarity import Familiarity


class Student(nn.Module):
    """Takes uint8 images, gives logits.

    Attributes:
        network: the bare network, normalized float images (N, 3, H, W) in [-1, 1) -> logits (N, classes).
        architecture: plain data that `students.load` rebuilds the module from.
        familiarity: how much a photo is like those that it knows; None: it does not say.
    """

    def __init__(
        self, network: nn.Module, architecture: dict[str, Any], familiarity: Familiarity | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.familiarity = familiarity

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (or float) images (N, 3, H, W) in [0, 255] -> float logits (N, classes)."""
        return self.network((images.float() - MEAN) / STD)

    def answering(self) -> nn.Module:
        """What files compute: the bare network, or with a familiarity `Answering`."""
        return self.network if self.familiarity is None else Answering(self.network, self.familiarity)

    def classifiers(self) -> list[nn.Linear]:
        """The linear layers whose outputs are the classes: one, or two whose mean is taken."""
        found = self.network.get_classifier()  # type: ignore[operator]
        roots = found if isinstance(found, tuple | list) else [found]
        layers = [each for root in roots for each in root.modules() if isinstance(each, nn.Linear)]
        return [each for each in layers if each.out_features == self.architecture["num_classes"]]

    def outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """uint8 images -> `logits` (N, classes), `pooled` (N, D), what the classifier sees, and two maps (N, C, h, w).

        `feature_map` is the backbone's last one, before the head, whichever the head is; for `mid_features` see
        `attar.mid_features`.
        """
        network: Any = self.network
        backbone = getattr(network, "backbone", network)
        features, (between,) = backbone.forward_intermediates(
            (images.float() - MEAN) / STD, indices=[middle(reductions_of(backbone))]
        )
        logits, pooled = _head(network, features)
        return {"logits": logits, "pooled": pooled, "feature_map": _as_map(features), "mid_features": between}


class Answering(nn.Module):
    """A network and its familiarity: normalized images (N, 3, H, W) -> logits (N, classes), familiarity (N, 1)."""

    def __init__(self, network: nn.Module, familiarity: Familiarity) -> None:
        super().__init__()
        self.network = network
        self.familiarity = familiarity

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalized images -> (logits, familiarity)."""
        logits, pooled = _head(self.network, self.network.forward_features(images))  # type: ignore[operator]
        return logits, self.familiarity(logits, pooled)


def _head(network: Any, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, classes) of a network's last feature map, and what its classifier sees, (N, D)."""
    pooled = network.forward_head(features, pre_logits=True)
    return network.get_classifier()(pooled) if _ends(network) else network.forward_head(features), pooled


def _as_map(features: torch.Tensor) -> torch.Tensor:
    """Tokens (N, h * w, C) of a square map as that map (N, C, h, w); a map as it is."""
    if features.ndim == 4:
        return features
    side = round(features.shape[1] ** 0.5)
    return features.transpose(1, 2).reshape(len(features), -1, side, side)


def _ends(network: Any) -> bool:
    """Whether a network's classifier alone makes logits of what `forward_head` calls `pre_logits`.

    In some of timm's models a norm, a second classifier or dropout stands between. Their heads are cheap enough to
    be run twice.
    """
    return isinstance(network, WithHead) or getattr(network, "classifier", None) is network.get_classifier()


class WithHead(nn.Module):
    """A timm backbone's last feature map, then a head of ours."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized images -> logits."""
        return self.head(self.forward_features(images))

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized images -> the backbone's last feature map; this and the next two as timm's models have them."""
        return self.backbone.forward_features(images)  # type: ignore[operator]

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Feature map -> logits, or with `pre_logits` what the classifier sees."""
        return self.head.pooled(features) if pre_logits else self.head(features)  # type: ignore[operator]

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head.classifier  # type: ignore[return-value]
