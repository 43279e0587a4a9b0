"""timm models with pretrained weights from the hub, and one clear error where they cannot be had."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm

from attar.console import say
from attar.errors import InputError


def create_pretrained(what: str, name: str, **options: Any) -> Any:
    """`timm.create_model(name, pretrained=True, **options)`.

    Args:
        what: the model's part in the run, for the message: `teacher`, `student`.
        name: a timm model, with or without a pretrained tag.
        options: arguments of the architecture.

    Raises:
        InputError: timm has no weights of it, or the hub does not give them (no network, most often).
        TypeError: the architecture does not take these options.
    """
    if not timm.is_model_pretrained(name):
        raise InputError(
            f"{what} {name!r}: timm has no pretrained weights of it. Name a file that you have with `checkpoint`, or "
            "train from scratch with `pretrained: false`."
        )
    say(f"Fetching pretrained weights of {name} (from the hub, unless they are here already) ...")
    try:
        with _quiet():
            return timm.create_model(name, pretrained=True, **options)
    except TypeError:
        raise
    except Exception as error:  # the hub's client raises anything
        raise InputError(
            f"{what} {name!r}: its pretrained weights could not be fetched ({_reason(error)}). Connect to the "
            "network, name a file that you have with `checkpoint`, or train from scratch with `pretrained: false`, "
            "teacher and student each for itself (--set student.pretrained=false)."
        ) from error


def _reason(error: BaseException) -> str:
    """The first cause's first line: the hub's own summary says only that something happened."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """The hub's client logs each of its retries at length."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
