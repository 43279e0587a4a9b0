"""timm models with pretrained weights from the hub, and one clear error where they cannot be had."""

from __future__ import annotations

import logging
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm

from attar.console import say
from attar.errors import InputError

PATIENCE = 3.0
"""Seconds until a hub that does not answer counts as not reached."""


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
    reached = True
    try:
        with _quiet(), _offline_unless_reached() as reached:
            return timm.create_model(name, pretrained=True, **options)
    except TypeError:
        raise
    except Exception as error:  # the hub's client raises anything
        raise InputError(
            f"{what} {name!r}: its pretrained weights could not be fetched ({_reason(error, reached)}). Connect to the "
            "network, name a file that you have with `checkpoint`, or train from scratch with `pretrained: false`, "
            "teacher and student each for itself (--set student.pretrained=false)."
        ) from error


@contextmanager
def _offline_unless_reached() -> Iterator[bool]:
    """Whether the hub can be reached, and a block in which its client looks no further than here if it cannot.

    The client itself waits for minutes, with retries. What it may fetch is then fetched at its own pace.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    reached = bool(before) or _reached(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = before or not reached
    try:
        yield reached
    finally:
        constants.HF_HUB_OFFLINE = before


def _reached(address: str) -> bool:
    """Whether a connection to the host of an address, or to the proxy on the way to it, can be made."""
    scheme, _, rest = (urllib.request.getproxies().get(address.partition(":")[0]) or address).rpartition("://")
    place = urllib.parse.urlsplit(f"//{rest}")
    try:
        with socket.create_connection((place.hostname, place.port or (80 if scheme == "http" else 443)), PATIENCE):
            return True
    except (OSError, ValueError):
        return False


def _reason(error: BaseException, reached: bool) -> str:
    """The first cause's first line: the hub's own summary says only that something happened."""
    if not reached:
        return f"they are not here already, and the hub did not answer within {PATIENCE:g} seconds"
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
