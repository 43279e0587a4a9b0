"""Low-rank adapters for a network's linear layers (LoRA: Hu et al., arXiv 2106.09685, section 4.1).

    W = W0 + alpha / rank · B A        W0 frozen, A (rank, in) random, B (out, rank) zero at first

as torch parametrizations of the weights, so that it does not matter how a layer is called: EVA and BEiT multiply with
the weight of their fused query, key and value themselves. One adapter of such a fused layer serves all three. Merging
is torch's `remove_parametrizations`, after which the network is an ordinary one.

The `peft` library does the same by wrapping modules, which those architectures never call, and brings transformers and
accelerate with it. The price of parametrizing is that gradients of whole weights exist for a moment; what is saved
is the optimizer's memory, and the weights stay near those of the pretrained network.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils import parametrize

from attar.errors import InputError
from attar.teachers.teacher import Teacher


class LowRank(nn.Module):
    """A weight (out, in) -> the same plus `alpha / rank` times a matrix of that rank."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        outs, ins = weight.shape
        self.scale = alpha / rank
        self.down = nn.Parameter(weight.new_empty(rank, ins))
        self.up = nn.Parameter(weight.new_zeros(outs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as `nn.Linear` begins

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The adapted weight."""
        return weight + self.scale * (self.up @ self.down)


def adapt(teacher: Teacher, rank: int, alpha: float, *, mlp: bool = False) -> int:
    """Freeze everything but the classifier, and give attention layers (with `mlp`, MLPs too) an adapter each.

    Returns how many matrices have one. Raises `InputError` where there is no attention to adapt.
    """
    network = teacher.network.requires_grad_(False)
    network.get_classifier().requires_grad_(True)  # type: ignore[operator]
    inside = {"attn", "mlp"} if mlp else {"attn"}
    chosen = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and inside & set(name.split("."))
    }
    if not chosen:
        raise InputError(
            f"teacher {teacher.architecture['name']!r}: has no attention layers to adapt. Use finetune or probe."
        )
    for name, module in chosen.items():
        if rank >= min(module.weight.shape):
            raise InputError(
                f"teacher.lora_rank: {rank} is no lower than that of {name}, {tuple(module.weight.shape)}. Choose a "
                "smaller one, or finetune."
            )
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, alpha))
    return len(chosen)


def merge(teacher: Teacher) -> None:
    """Put adapters into the weights they adapt, in place; the teacher computes the same as before."""
    for module in list(teacher.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    teacher.requires_grad_(True)
