"""Batch norm over the batches of all ranks, as if they were one.

torch's SyncBatchNorm does this on GPUs only, and for modules of its own; here every call of
`functional.batch_norm` inside a block is replaced, whichever module makes it, on GPUs and CPUs.
Ranks hold equally many images, so the mean of their means is the mean of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from attar.train import distributed


class NormsAcrossRanks(TorchFunctionMode):
    """A block in which batch norms in training mode take their statistics over all ranks."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace one function, leave every other as it is."""
        if func is functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    x: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """As `functional.batch_norm`, float32 inside: x (N, C, ...), statistics, weight and bias (C,)."""
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    others = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    wide = x if x.dtype == torch.float64 else x.float()
    mean = _Averaged.apply(wide.mean(others))
    centred = wide - mean.view(shape)
    variance = _Averaged.apply(centred.square().mean(others))  # of what is centred already: no cancellation
    if running_mean is not None and running_var is not None:
        number = x.numel() // x.shape[1] * distributed.count()
        running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
        running_var.lerp_((variance.detach() * number / max(1, number - 1)).to(running_var.dtype), momentum)
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    out = centred * scale.view(shape)
    return (out if bias is None else out + bias.view(shape)).to(x.dtype)


class _Averaged(torch.autograd.Function):
    """Mean of a tensor over ranks. Its gradient is likewise the mean of the gradients of the ranks' losses."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _mean(gradients[0])


def _mean(x: torch.Tensor) -> torch.Tensor:
    import torch.distributed as dist

    total = x.clone()
    dist.all_reduce(total)
    return total / distributed.count()
