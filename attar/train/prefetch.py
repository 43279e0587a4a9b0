"""Batches brought to the device while it works on the one before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from attar.data.views import Batch


def on_device(batches: Iterator[Batch], where: torch.device) -> Iterator[Batch]:
    """The same batches on a device.

    For a GPU, a thread takes the next batch, puts it into page-locked memory and has it copied on a stream of its own:
    neither the GPU nor the thread that feeds it waits for the copy.
    """
    if where.type != "cuda":
        yield from (batch.to(where) for batch in batches)
        return
    copies = torch.cuda.Stream()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(_next_copied, batches, where, copies)
        try:
            while (found := coming.result()) is not None:
                batch, copied = found
                coming = pool.submit(_next_copied, batches, where, copies)
                torch.cuda.current_stream().wait_event(copied)
                for tensor in batch.tensors().values():
                    tensor.record_stream(torch.cuda.current_stream())
                yield batch
        finally:
            coming.exception()  # the thread may be inside the generator, which cannot be closed then
            close = getattr(batches, "close", None)
            if close:
                close()


def _next_copied(batches: Iterator[Batch], where: torch.device, copies: Any) -> tuple[Batch, Any] | None:
    """A batch that is on its way, and the event of its arrival; None after the last one."""
    batch = next(batches, None)
    if batch is None:
        return None
    with torch.cuda.stream(copies):
        batch = batch.to(where)
        return batch, copies.record_event()
