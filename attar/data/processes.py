"""Batches drawn ahead by processes, which torch's `DataLoader` starts, feeds and ends.

Drawing a small view is mostly Python, of which a process runs one thread at a time: with more than one worker, threads
hinder each other and processes do not. A process has the photos in memory from its parent (`fork`), so this is for
Linux; where processes start afresh, each would hold its own copy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset, Sampler

from attar.errors import AttarError

Chunk = TypeVar("Chunk")
Drawn = TypeVar("Drawn")

POSSIBLE = sys.platform == "linux"
"""Whether processes can be used here."""


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
        )

    def drawn(self, chunks: Sequence[Chunk]) -> Iterator[Drawn]:
        """Each chunk's drawing, in the order of the chunks. What an earlier caller has left unread is dropped.

        Raises:
            AttarError: what `draw` raised.
        """
        self._order.chunks = chunks
        for result in self._loader:
            if isinstance(result, AttarError):
                raise result
            yield result


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
