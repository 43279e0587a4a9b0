"""Work done ahead by processes, such as batches of views, which torch's `DataLoader` starts, feeds and ends.

Drawing a small view, or checking a small photo, is mostly Python, of which a process runs one thread at a time: with
more than one worker, threads hinder each other and processes do not. A process has the photos in memory from its parent
(`fork`), so this is for Linux; where processes start afresh, each would hold its own copy. Results come back through a
pipe, pixels as numpy arrays.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from attar.errors import AttarError, InputError

Chunk = TypeVar("Chunk")
Drawn = TypeVar("Drawn")


class Processes(Generic[Chunk, Drawn]):
    """Processes that draw chunks, for as long as this object lives.

    Args:
        draw: a chunk -> what is drawn of it; it runs in the processes, as its data is at their start.
        workers: how many, at least one.
    """

    def __init__(self, draw: Callable[[Chunk], Drawn], workers: int) -> None:
        self._order: _Order[Chunk] = _Order()
        self._loader: Any = DataLoader(
            _Drawing(draw),
            batch_size=None,
            sampler=self._order,
            num_workers=workers,
            persistent_workers=True,
            multiprocessing_context="fork",
            collate_fn=_as_it_is,
            worker_init_fn=_begin,
            generator=torch.Generator(),  # by default it would draw from the training's random numbers
        )

    def drawn(self, chunks: Sequence[Chunk]) -> Iterator[Drawn]:
        """Each chunk's drawing, in the order of the chunks. What an earlier caller has left unread is dropped.

        Raises:
            AttarError: what `draw` raised.
        RuntimeError: a process was ended from outside; see `lost`.
        """
        self._order.chunks = chunks
        for result in self._loader:
            if isinstance(result, AttarError):
                try:
                    raise result
                finally:
                    del result  # its traceback holds this frame in a circle, and with it the processes
            yield result


def lost(error: Exception) -> AttarError | None:
    """What to tell of an error that torch raises when one of the processes ended; None for any other error.

    torch raises it wherever the program happens to be.
    """
    if not isinstance(error, RuntimeError) or "DataLoader worker" not in str(error):
        return None
    return InputError(
        "A process that draws views was ended from outside, probably for lack of memory. Run the same command again; "
        "it continues where it stopped. With ATTAR_WORKERS=1, one thread draws the views."
    )


class _Drawing(Dataset[Any], Generic[Chunk, Drawn]):
    """A data set whose keys are chunks."""

    def __init__(self, draw: Callable[[Chunk], Drawn]) -> None:
        self._draw = draw

    def __getitem__(self, chunk: Any) -> Drawn | AttarError:
        try:
            return self._draw(chunk)
        except AttarError as error:  # torch would wrap its one line in a traceback
            return error


class _Order(Sampler[Chunk]):
    """The chunks of the epoch that is asked for."""

    chunks: Sequence[Chunk] = ()

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.chunks)

    def __len__(self) -> int:
        return len(self.chunks)


def _as_it_is(drawn: Drawn) -> Drawn:
    return drawn


def _begin(_: int) -> None:
    """Ctrl-C reaches these processes too. The training that they work for ends its step first, and then them.

    And their garbage collector leaves alone what was there before: it would write to memory that is shared until then.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
