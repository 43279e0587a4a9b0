"""Phone-safe rewrites: the same function, spelled so that the phone's kernels can run it whole.

Applied to a copy of a student before LiteRT conversion. XNNPACK has no int8 HARD_SWISH, and the converter
fuses most spellings back into it; each one then splits the graph and sends its activations through slow
reference kernels. `(x * (1/6)) * relu6(x + 3)` stays multiplications and a clamp, which XNNPACK runs in
int8, so the whole graph is one partition.
"""

from __future__ import annotations

import copy

import torch
from timm.layers import HardSigmoid, HardSwish
from torch import nn
from torch.nn import functional


class SpelledHardSwish(nn.Module):
    """x · relu6(x + 3) / 6 (MobileNetV3, arXiv 1905.02244, section 5.2), any shape, with the sixth taken first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise."""
        return (x * (1.0 / 6.0)) * functional.relu6(x + 3.0)


class SpelledHardSigmoid(nn.Module):
    """relu6(x + 3) / 6, any shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise."""
        return functional.relu6(x + 3.0) * (1.0 / 6.0)


REWRITES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Hardswish: SpelledHardSwish,
    HardSwish: SpelledHardSwish,
    nn.Hardsigmoid: SpelledHardSigmoid,
    HardSigmoid: SpelledHardSigmoid,
}
"""Module type -> its phone-safe spelling. All exact: logits change by rounding only."""


def phone_safe(network: nn.Module) -> nn.Module:
    """A copy of `network` in which every module of `REWRITES` is spelled phone-safely."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            for kind, spelling in REWRITES.items():
                if type(child) is kind:
                    setattr(parent, name, spelling())
    return network
