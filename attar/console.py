"""What a person sees while attar works: messages and progress bars on stderr; in a pipe, lines instead of bars.

Results for machines (`--json`) go to stdout, so the two never mix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from attar.errors import printable
from attar.train import distributed

T = TypeVar("T")

err = Console(stderr=True, highlight=False, quiet=not distributed.is_first())
"""Messages for a person, from the first rank only."""


def say(message: str) -> None:
    """Print one message for a person (plain text: brackets are not markup, control characters are escaped).

    A terminal gets lines as wide as it is; a pipe or a log gets the message as one line, for who searches it.
    """
    err.print(printable(message), markup=False, soft_wrap=not err.is_terminal)


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yield from `items` under a progress bar that vanishes when done; silent outside a terminal."""
    with bar(title, total) as step:
        for item in items:
            yield item
            step()


@contextmanager
def bar(title: str, total: int) -> Iterator[Step]:
    """A progress bar; call the yielded function with the number of steps done (and a new title, if any)."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=err.quiet or not err.is_terminal,
    )
    with progress:
        task = progress.add_task(title, total=total)
        yield Step(progress, task)


class Step:
    """Advances one progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, count: int = 1, title: str | None = None) -> None:
        """Count `count` more steps as done, and show a new title if one is given: in a pipe, a line of its own."""
        self._progress.update(self._task, advance=count, description=title)
        if title is not None and not err.is_terminal:
            say(title)
