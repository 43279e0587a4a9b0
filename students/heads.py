"""Heads by name: what stands on a backbone's last feature map.

A head is an `nn.Module` class that is made as `Head(in_features, num_classes, width=..., dropout=..., **options)`, with
options of its own:

    forward(features)   feature map (N, in_features, H, W) -> logits (N, num_classes)
    pooled(features)    feature map -> what the classifier sees, (N, D)
    classifier          the last linear layer, D -> num_classes

A new one is a file here and a line below. Another package adds one by an entry point of the group `attar.heads`
(docs/extending.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from attar.errors import InputError, did_you_mean
from attar.plugins import classes
from attar.students.dwsconv import DWSConvHead
from attar.students.pooled import LowRankHead, PooledHead

STOCK = "stock"
"""timm's own head, which its models bring."""

HEADS = classes("attar.heads", nn.Module, {"dwsconv": DWSConvHead, "pooled": PooledHead, "lowrank": LowRankHead})
"""Name -> head."""


def check_head(name: str) -> None:
    """Raise `InputError`, with close matches, unless there is a head of that name."""
    names = (*HEADS, STOCK)
    if name not in names:
        raise InputError(f"student.head: {name!r} is no head ({', '.join(names)}).{did_you_mean(name, names)}")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise `InputError`, with close matches, unless every option is one of the head's own."""
    parameters = {} if name == STOCK else dict(inspect.signature(HEADS[name]).parameters)
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    known = [each for each in [*parameters][2:] if each not in ("width", "dropout")]
    for option in options:
        if option not in known:
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            raise InputError(
                f"student.head_options: {name} has no option {option!r}. {takes}{did_you_mean(option, known)}"
            )


def make_head(
    name: str, in_features: int, num_classes: int, width: int, dropout: float, options: Mapping[str, Any]
) -> nn.Module:
    """A head by name.

    Raises:
        InputError: no such head, no such option, or a value that the head does not take.
    """
    check_head(name)
    check_options(name, options)
    try:
        head: nn.Module = HEADS[name](in_features, num_classes, width=width, dropout=dropout, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"student.head_options: {name} does not take {dict(options)}: {error}.") from error
    return head
