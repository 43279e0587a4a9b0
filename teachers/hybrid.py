"""A hybrid ViT: transformer blocks over a convolutional network's feature map.

Dosovitskiy et al., arXiv 2010.11929, section 3.1: the patches of the image are replaced by the
positions of a CNN feature map, projected to the transformer's width. With a pretrained CNN it learns
from a few thousand photos, where a plain ViT from scratch does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from attar import architectures
from attar.errors import InputError, did_you_mean
from attar.mid_features import middle, reductions_of
from attar.pretrained.files import load_weights, read_state_dict
from attar.pretrained.hub import create_pretrained

HYBRID = "hybrid_vit"
"""The name that `create_teacher` knows this architecture by."""

DEFAULTS: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "feature": -1,  # which of the backbone's feature maps, counted as in timm's `features_only`
    "img_size": 224,
    "embed_dim": 384,
    "depth": 4,
    "num_heads": 6,
    "drop_path_rate": 0.1,
    "proj_drop_rate": 0.0,
}


def create_hybrid(
    num_classes: int, options: Mapping[str, Any], *, pretrained: bool = False, checkpoint: Path | str | None = None
) -> Any:
    """A VisionTransformer over a timm backbone's feature map; `options` override `DEFAULTS`.

    `pretrained` and `checkpoint` speak of the backbone's weights; the blocks start fresh.
    """
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        near = did_you_mean(architectures.SYNONYMS.get(unknown[0], unknown[0]), DEFAULTS)
        raise InputError(f"teacher {HYBRID!r}: unknown option {unknown[0]!r}.{near} Known: {', '.join(DEFAULTS)}.")
    chosen = {**DEFAULTS, **options}
    name = chosen["backbone"]
    architectures.require_named(name, f"{HYBRID} backbone")
    fetch = pretrained and checkpoint is None
    whole: Any = create_pretrained(f"{HYBRID} backbone", name) if fetch else timm.create_model(name)
    if checkpoint is not None:
        head = whole.pretrained_cfg["classifier"]
        load_weights(whole, read_state_dict(checkpoint), source=str(checkpoint), head=head)
    try:
        model = _assembled(whole, chosen, num_classes)
    except Exception as error:  # whatever timm raises on options that do not fit together
        raise architectures.not_taken("teacher", HYBRID, options, error) from error
    # A model carries its own preprocessing: here, its backbone's.
    size = (3, chosen["img_size"], chosen["img_size"])
    model.pretrained_cfg = {**whole.pretrained_cfg, "input_size": size, "classifier": "head"}
    return model


def _assembled(whole: Any, chosen: Mapping[str, Any], num_classes: int) -> Any:
    """Blocks over the layers of `whole` up to the chosen feature map."""
    name, last = chosen["backbone"], chosen["feature"]
    backbone: Any = timm.create_model(name, features_only=True, out_indices=(middle(reductions_of(whole), last), last))
    backbone.load_state_dict({k: v for k, v in whole.state_dict().items() if k in backbone.state_dict()})
    if stages := getattr(backbone, "_stage_out_idx", None):  # timm cuts other networks off behind their last map
        backbone.blocks = backbone.blocks[: max(stages)]
    return VisionTransformer(
        img_size=chosen["img_size"],
        patch_size=1,
        embed_dim=chosen["embed_dim"],
        depth=chosen["depth"],
        num_heads=chosen["num_heads"],
        num_classes=num_classes,
        drop_path_rate=chosen["drop_path_rate"],
        proj_drop_rate=chosen["proj_drop_rate"],
        global_pool="avg",
        embed_layer=partial(HybridEmbed, backbone=backbone),
    )


def without_spare_layers(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights for `model` without the layers behind the chosen feature map, which bundles of attar 0.1 have."""
    own = model.state_dict().keys()
    return {name: each for name, each in weights.items() if name in own or ".backbone.blocks." not in name}


@contextmanager
def maps_inside(network: Any) -> Iterator[list[torch.Tensor]]:
    """What the convolutional part of a hybrid ViT finds when it runs: its middle map and its last one; else nothing.

    The transformer takes only the last. timm's own hybrids keep no other.
    """
    inside: list[torch.Tensor] = []
    backbone = getattr(getattr(network, "patch_embed", None), "backbone", None)
    if backbone is None:
        yield inside
        return

    def keep(module: nn.Module, images: Any, maps: Any) -> None:
        if isinstance(maps, list) and len(maps) > 1:
            inside.extend(maps)

    hook = backbone.register_forward_hook(keep)
    try:
        yield inside
    finally:
        hook.remove()
