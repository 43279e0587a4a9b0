"""What other packages add to attar: Python entry points, read when a registry is made (docs/extending.md).

See "Entry points specification" of the Python Packaging User Guide.
"""

from __future__ import annotations

import re
from collections.abc import Container
from importlib.metadata import entry_points
from typing import TypeVar

from attar.errors import InputError

T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


def registered(group: str, kind: type[T], taken: Container[str] = ()) -> dict[str, T]:
    """What installed packages register in an entry-point group, by name.

    Args:
        group: such as `attar.formats`.
        kind: what each entry has to be: an instance of it, or a subclass if `kind` is `type`.
        taken: names that are attar's own.

    Raises:
        InputError: an entry that does not load, is something else, or has a name that is taken or that no name may
            be. The text names the package.
    """
    found: dict[str, T] = {}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist else "an installed package"
        said = f"{package}: its entry point {entry.name!r} in {group}"
        if not _NAME.fullmatch(entry.name):
            raise InputError(f"{said} has a name that is not made of a-z, 0-9, _ and -. Rename it, or uninstall it.")
        if entry.name in taken or entry.name in found:
            raise InputError(f"{said} has a name that is taken. Rename it, or uninstall one of the packages.")
        try:
            value = entry.load()
        except Exception as error:
            raise InputError(f"{said} does not load: {type(error).__name__}: {error}. Mend or uninstall it.") from error
        if not isinstance(value, kind):
            raise InputError(f"{said} is {type(value).__name__}, not {kind.__name__}. Mend or uninstall it.")
        found[entry.name] = value
    return found
