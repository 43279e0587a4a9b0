"""One process or many: which of a job's ranks this process is, and what ranks do together.

`torchrun --nproc-per-node 2 -m attar distill ...` starts one command several times; each process is a
rank, and the batches of the recipe are shared out among them. Without torchrun there is one rank, and
nothing here does anything or loads anything.

Ranks meet in two ways. Gradients have `LOST_SECONDS` to arrive. Messages, plain data over gloo, may take
as long as it takes: the others wait for hours where the first rank evaluates. A rank that dies closes its
connections, which ends either wait at once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from attar.errors import AttarError, GateError, InputError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import nn
    from torch.distributed import ProcessGroup

S = TypeVar("S")

LOST_SECONDS = 600.0
"""A rank whose gradients are late by this much is taken for lost, and the job ends."""

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def count() -> int:
    """Processes of this job; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in _TORCHRUN) else 1


def rank() -> int:
    """Number of this process in its job, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def local_count() -> int:
    """Processes of this job on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if count() > 1 else 1


def is_first() -> bool:
    """Whether this is the rank that writes, evaluates and speaks."""
    return rank() == 0


def share(items: S) -> S:
    """This rank's part of a list or array: every `count()`-th item. In one process: all of it."""
    return items if count() == 1 else items[rank() :: count()]  # type: ignore[index]


def exchange(value: Any) -> list[Any]:
    """Plain data of every rank, by rank."""
    if count() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value, group=_messages())
    return values


@contextmanager
def first_alone() -> Iterator[bool]:
    """A block in which only the first rank works (it gets True) while the others wait for its end.

    An error of the first rank that a user can mend is raised in every rank.
    """
    error: AttarError | None = None
    if is_first():
        try:
            yield True
        except AttarError as raised:
            error = raised
    else:
        yield False
    failure = exchange(error)[0]
    if failure is not None:
        raise failure


@contextmanager
def first_goes_first() -> Iterator[None]:
    """A block that the first rank runs before the others do, so that they find its files made."""
    if is_first():
        with first_alone():
            yield
    else:
        with first_alone():
            pass
        yield


@contextmanager
def held(lock: AbstractContextManager[Any]) -> Iterator[None]:
    """A block that all ranks run together under one lock, which the first of them takes."""
    with lock if is_first() else nullcontext():
        exchange(None)
        yield
        exchange(None)


def agree(about: Mapping[str, Any]) -> None:
    """Make sure that every rank was given the same: `about` maps names to plain data.

    Raises:
        InputError: in every rank, naming a rank that differs and the first thing it differs in.
    """
    own, *others = [_flat(values) for values in exchange(dict(about))]
    for number, other in enumerate(others, start=1):
        for name in sorted(own.keys() | other.keys()):
            if own.get(name) != other.get(name):
                raise InputError(
                    f"The ranks of this job disagree on {name}: {other.get(name)!r} at rank {number}, and "
                    f"{own.get(name)!r} at rank 0. Start every rank with the same recipe, photos and teacher."
                )


def tell_once() -> None:
    """Most errors meet all ranks at once, and the first prints them; another rank prints its own a little later.

    torchrun ends the others when one rank has ended with an error.
    """
    if not is_first():
        time.sleep(5)


def finish() -> None:
    """End what this rank has with the others, once its work is done.

    The threads of a process group end with it. One that Python meets while it shuts down may abort the process, and
    torchrun would call the job failed.
    """
    if count() == 1 or _messages.cache_info().currsize + fabric.cache_info().currsize == 0:
        return
    import torch.distributed as dist

    _messages.cache_clear()
    fabric.cache_clear()
    dist.destroy_process_group()


def lost(error: BaseException) -> AttarError | None:
    """What to tell a user whose job was ended by the death or silence of another rank."""
    if count() == 1 or not isinstance(error, RuntimeError):
        return None
    if not re.search(r"gloo|nccl|connection (was )?(closed|reset)|timed? ?out|socket", str(error), re.IGNORECASE):
        return None
    return GateError(
        f"Rank {rank()} lost another rank of this job: it was killed, or its machine is gone or stands still "
        f"({str(error).strip().splitlines()[0][:200]}). Run the same command again; it continues."
    )


@cache
def fabric(shard: Callable[[nn.Module, Any], nn.Module] | None = None) -> Any:
    """Lightning Fabric for this job, launched: DDP, or FSDP 2 with what spreads a model over a device mesh."""
    import logging

    import torch

    from attar.extras import require

    lightning = require("lightning_fabric")
    strategies = require("lightning_fabric.strategies")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    gpus = torch.cuda.device_count()
    if 0 < gpus < local_count():
        raise InputError(
            f"{local_count()} ranks on a machine with {gpus} GPU(s). Start one rank per GPU (torchrun "
            f'--nproc-per-node {gpus}), or set CUDA_VISIBLE_DEVICES="" to train on the CPU.'
        )
    limit = {"timeout": timedelta(seconds=LOST_SECONDS)}
    if shard:
        strategy = strategies.ModelParallelStrategy(shard, data_parallel_size=count(), tensor_parallel_size=1, **limit)
    else:
        strategy = strategies.DDPStrategy(**limit)
    made = lightning.Fabric(
        accelerator="cuda" if gpus else "cpu",
        devices=local_count(),
        num_nodes=count() // local_count(),
        strategy=strategy,
    )
    made.launch()
    return made


@cache
def _messages() -> ProcessGroup:
    import torch.distributed as dist

    if not dist.is_initialized():
        fabric()
    return dist.new_group(backend="gloo", timeout=timedelta(days=30))  # type: ignore[return-value]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {k: v for key, below in value.items() for k, v in _flat(below, f"{name}.{key}" if name else key).items()}
