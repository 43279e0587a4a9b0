"""Heads by name: what stands on a backbone's last feature map.

A head is an `nn.Module` class that is made as `Head(in_features, num_classes, width=..., dropout=...)`:

    forward(features)   feature map (N, in_features, H, W) -> logits (N, num_classes)
    pooled(features)    feature map -> what the classifier sees, (N, D)
    classifier          the last linear layer, D -> num_classes

A new one is a file here and a line below. Another package adds one by an entry point of the group `attar.heads`
(docs/extending.md).
"""

from __future__ import annotations

from torch import nn

from attar.errors import InputError, did_you_mean
from attar.plugins import classes
from attar.students.dwsconv import DWSConvHead

STOCK = "stock"
"""timm's own head, which its models bring."""

HEADS = classes("attar.heads", nn.Module, {"dwsconv": DWSConvHead})
"""Name -> head."""


def check_head(name: str) -> None:
    """Raise `InputError`, with close matches, unless there is a head of that name."""
    names = (*HEADS, STOCK)
    if name not in names:
        raise InputError(f"student.head: {name!r} is no head ({', '.join(names)}).{did_you_mean(name, names)}")
