"""timm models by name, as a user types it or as a file of ours has it: never from the network, never by running code.

A bundle comes from anyone. timm takes names that fetch (`hf-hub:...`) or read (`local-dir:...`) something else, and
options that name files and addresses; none of them passes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm

from attar.errors import InputError, did_you_mean

RESERVED = frozenset(
    {
        "cache_dir",
        "checkpoint_path",
        "exportable",
        "features_only",
        "kwargs",
        "model_name",
        "no_jit",
        "num_classes",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_strict",
        "scriptable",
    }
)
"""Arguments of `timm.create_model` that are not the architecture's."""

SYNONYMS = {"size": "img_size", "image_size": "img_size", "input_size": "img_size", "classes": "num_classes"}
"""What people write for an option of timm."""


def require_named(name: Any, what: str) -> None:
    """Raise `InputError`, with close matches, unless `name` is a timm model's.

    Args:
        name: as typed, or as a file has it.
        what: whose name it is, for the message: `teacher`, `student`.
    """
    if not isinstance(name, str) or not timm.is_model(name):
        near = did_you_mean(str(name), timm.list_models())
        raise InputError(f"{what} {name!r}: no such timm model.{near} See timm.list_models().")


def require_options(name: str, options: Mapping[str, Any], what: str) -> None:
    """Raise `InputError` for an option that is not the architecture's to take."""
    for key in options:
        if key in SYNONYMS and key != "num_classes":
            raise InputError(f"{what} {name!r}: unknown option {key!r}. Did you mean {SYNONYMS[key]!r}?")
        if key in RESERVED:
            raise InputError(f"{what} {name!r}: {key!r} is not an option of the architecture. Leave it out.")


def create(what: str, name: str, **options: Any) -> Any:
    """`timm.create_model(name, **options)` without weights.

    Raises:
        InputError: an unknown name, or options that the architecture does not take; one line says which.
    """
    require_named(name, what)
    try:
        return timm.create_model(name, **options)
    except Exception as error:  # whatever an architecture raises on options that it cannot bear
        raise not_taken(what, name, options, error) from error


def not_taken(what: str, name: str, options: Mapping[str, Any], error: BaseException) -> InputError:
    """The error for options that an architecture does not take."""
    given = ", ".join(f"{key}: {value!r}" for key, value in options.items() if key != "num_classes")
    why = str(error).strip().partition("\n")[0] or type(error).__name__
    return InputError(f"{what} {name!r}: does not work with the options {{{given}}} ({why}).")
