"""How a training step is carried out: in one process, or by ranks on Lightning Fabric.

`SingleProcess` is plain torch. `DDP` keeps the whole model in every rank and averages gradients (DDP); `FSDP` also
spreads weights, gradients and optimizer state over the ranks (FSDP 2), for teachers that no single device holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from attar.errors import InputError
from attar.inference import torch_device
from attar.recipe import TrainSpec
from attar.train import distributed

State = dict[str, Any]
"""Tensors by name, whole, whatever the engine."""


class SingleProcess:
    """One process."""

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model as it is to be trained; its parameters are what the optimizer gets."""
        return model.to(torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    prepare_average = prepare

    def loss(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run a forward pass, whatever of the model it calls."""
        return compute()

    def no_sync(self, last: bool) -> AbstractContextManager[None]:
        """Around one part of a batch: gradients need not be averaged before the last part."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Add to the gradients."""
        loss.backward()

    def mean(self, *values: float) -> list[float]:
        """Numbers averaged over ranks."""
        return list(values)

    def state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[State, State]:
        """States of the model and its optimizer; every rank asks, the first one gets them."""
        return model.state_dict(), optimizer.state_dict()

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, states: tuple[State, State]) -> None:
        """Put such states back, in every rank."""
        model.load_state_dict(states[0])
        optimizer.load_state_dict(states[1])

    def average_state(self, average: nn.Module) -> State:
        """State of the averaged weights."""
        return average.state_dict()

    def load_average(self, average: nn.Module, state: State) -> None:
        """Put such a state back."""
        average.load_state_dict(state)

    def unshard(self, model: nn.Module) -> nn.Module:
        """A trained or averaged model as a plain one."""
        return model


class DDP(SingleProcess):
    """Ranks with a whole model each; their gradients are averaged."""

    def __init__(self) -> None:
        self._fabric = distributed.fabric()

    def prepare(self, model: nn.Module) -> nn.Module:
        """See `SingleProcess`; weights of rank 0 go to all."""
        model = super().prepare(model)
        self._framed = self._fabric.setup_module(_Framed(model))
        return model

    def loss(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """See `SingleProcess`."""
        return self._framed(compute)

    def no_sync(self, last: bool) -> AbstractContextManager[None]:
        """See `SingleProcess`."""
        return self._fabric.no_backward_sync(self._framed, enabled=not last)

    def backward(self, loss: torch.Tensor) -> None:
        """See `SingleProcess`."""
        self._fabric.backward(loss)

    def mean(self, *values: float) -> list[float]:
        """See `SingleProcess`."""
        return self._fabric.all_reduce(torch.tensor(values, dtype=torch.float64), reduce_op="mean").tolist()


class FSDP(DDP):
    """Ranks with a part of the model each. What the first rank gets back is whole; the others' copy stays untrained."""

    def __init__(self) -> None:
        self._fabric = distributed.fabric(shard_blocks)

    def prepare(self, model: nn.Module) -> nn.Module:
        """See `SingleProcess`. A copy is trained, because a sharded module cannot be made plain again."""
        self._plain = model
        model = copy.deepcopy(model).to(torch_device())
        self._framed = self._fabric.setup_module(_Framed(model))
        return model

    def prepare_average(self, model: nn.Module) -> nn.Module:
        """See `SingleProcess`."""
        return shard_blocks(model.to(torch_device()), self._fabric.strategy.device_mesh)

    def state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[State, State]:
        """See `SingleProcess`."""
        from torch.distributed.checkpoint.state_dict import get_state_dict

        return get_state_dict(model, optimizer, options=self._whole())

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, states: tuple[State, State]) -> None:
        """See `SingleProcess`."""
        from torch.distributed.checkpoint.state_dict import set_state_dict

        set_state_dict(model, optimizer, model_state_dict=states[0], optim_state_dict=states[1], options=self._whole())

    def average_state(self, average: nn.Module) -> State:
        """See `SingleProcess`."""
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        return get_model_state_dict(average, options=self._whole())

    def load_average(self, average: nn.Module, state: State) -> None:
        """See `SingleProcess`."""
        from torch.distributed.checkpoint.state_dict import set_model_state_dict

        set_model_state_dict(average, state, options=self._whole())

    def unshard(self, model: nn.Module) -> nn.Module:
        """See `SingleProcess`."""
        state = self.average_state(model)
        if distributed.is_first():
            self._plain.load_state_dict(state)
        return self._plain

    @staticmethod
    def _whole() -> Any:
        from torch.distributed.checkpoint.state_dict import StateDictOptions

        return StateDictOptions(full_state_dict=True, cpu_offload=True)


class _Framed(nn.Module):
    """What Fabric wraps: a model whose forward pass is a whole loss, so that a loss may call any of its methods."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        from attar.train.sync_batchnorm import NormsAcrossRanks

        with NormsAcrossRanks():
            return compute()


def strategy_for(spec: TrainSpec, batch_size: int) -> SingleProcess:
    """The engine for this process and recipe.

    Raises:
        InputError: a batch that cannot be shared out evenly, or `shard` where it does nothing.
    """
    parts = distributed.count() * spec.accumulate
    if batch_size % parts:
        raise InputError(
            f"batch_size: {batch_size} photos cannot be shared out evenly among {distributed.count()} rank(s) in "
            f"{spec.accumulate} part(s) each (accumulate). Choose a multiple of {parts}."
        )
    if not spec.shard:
        return SingleProcess() if distributed.count() == 1 else DDP()
    if distributed.count() == 1:
        raise InputError("shard: true spreads a model over ranks, and here is one. Start it with torchrun.")
    if spec.select == "best":
        raise InputError("shard: true and select: best do not go together: no rank holds a model to evaluate.")
    return FSDP()


def shard_blocks(model: nn.Module, mesh: Any) -> nn.Module:
    """Spread a model's parameters over the ranks of `mesh`: each block of a ViT by itself, then what is left."""
    from torch.distributed.fsdp import fully_shard

    mesh = mesh["data_parallel"]  # Fabric's second axis, for tensor parallelism, has length 1 here
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in ("blocks", "stages", "layers"):
            for block in module.children():
                fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)  # type: ignore[return-value]
