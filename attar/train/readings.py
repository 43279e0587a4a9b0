"""Loss and gradient norm of each step as numbers, without a GPU that waits for them.

To read a number from a GPU is to wait until everything before it is done; meanwhile nothing new is given to the GPU. So
the numbers of a step are copied to page-locked memory and read one step later, when the next step has been handed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from attar.data.views import Batch


@dataclass(frozen=True)
class Reading:
    """What a step found.

    Attributes:
        step: its number, from 1.
        batch: its batch, on the device.
        loss: of this rank's share of the batch.
        norm: of the gradient, before clipping.
    """

    step: int
    batch: Batch
    loss: float
    norm: float


class Readings:
    """The numbers of steps, in order; `late`: each is read after the next step's are added."""

    def __init__(self, late: bool) -> None:
        self.late = late
        self._waiting: deque[tuple[int, Batch, torch.Tensor, Any]] = deque()

    def add(self, step: int, batch: Batch, values: torch.Tensor) -> None:
        """Note loss and norm of a step, float (2,)."""
        arrived = None
        if values.device.type == "cuda":
            values = torch.empty(2, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
            arrived = torch.cuda.current_stream().record_event()
        self._waiting.append((step, batch, values, arrived))

    def read(self, everything: bool = False) -> Iterator[Reading]:
        """What is due; `everything`: what is not due yet as well."""
        while len(self._waiting) > (self.late and not everything):
            step, batch, values, arrived = self._waiting.popleft()
            if arrived:
                arrived.synchronize()
            loss, norm = values.tolist()
            yield Reading(step, batch, loss, norm)
