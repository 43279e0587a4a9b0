"""Registries that other packages add to, by Python entry points (docs/extending.md).

See "Entry points specification" of the Python Packaging User Guide.
"""

from __future__ import annotations

import re
from collections import UserDict
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from attar.errors import InputError

T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


class Registry(UserDict[str, T]):
    """What there is of a kind, by name: attar's own, and what installed packages register in an entry-point group.

    The packages are imported when the registry is first read, not before: they import attar themselves.

    Args:
        group: of entry points, such as `attar.formats`.
        own: attar's own.
        wanted: what an entry has to be, in words.
        fits: whether it is.

    Reading raises `InputError`, which names the package, for an entry that does not load, is something else, or has a
    name that is taken or that no name may be.
    """

    def __init__(self, group: str, own: Mapping[str, T], wanted: str, fits: Callable[[Any], bool]) -> None:
        self._group, self._wanted, self._fits = group, wanted, fits
        self._known, self._complete = dict(own), False

    @property
    def data(self) -> dict[str, T]:  # type: ignore[override]
        """The names and what they stand for."""
        if not self._complete:
            self._complete = True  # first: what is imported now may look here
            try:
                for entry in entry_points(group=self._group):
                    self._known[self._free(entry)] = self._loaded(entry)
            except InputError:
                self._complete = False  # to be said again, not to be forgotten
                raise
        return self._known

    def _said(self, entry: EntryPoint) -> str:
        package = entry.dist.name if entry.dist else "an installed package"
        return f"{package}: its entry point {entry.name!r} in {self._group}"

    def _free(self, entry: EntryPoint) -> str:
        if not _NAME.fullmatch(entry.name):
            remedy = "has a name that is not made of a-z, 0-9, _ and -. Rename it, or uninstall the package."
            raise InputError(f"{self._said(entry)} {remedy}")
        if entry.name in self._known:
            raise InputError(f"{self._said(entry)} has a name that is taken. Rename it, or uninstall the package.")
        return entry.name

    def _loaded(self, entry: EntryPoint) -> T:
        try:
            value = entry.load()
        except Exception as error:
            message = f"does not load ({type(error).__name__}: {error}). Mend or uninstall the package."
            raise InputError(f"{self._said(entry)} {message}") from error
        if not self._fits(value):
            raise InputError(
                f"{self._said(entry)} is {value!r:.100}, not {self._wanted}. Mend or uninstall the package."
            )
        made: T = value
        return made


def instances(group: str, kind: type[T], own: Mapping[str, T]) -> Registry[T]:
    """A registry whose entries are instances of `kind`."""
    return Registry(group, own, f"an instance of {kind.__name__}", lambda value: isinstance(value, kind))


def classes(group: str, base: type[T], own: Mapping[str, type[T]]) -> Registry[type[T]]:
    """A registry whose entries are subclasses of `base`."""
    fits = lambda value: isinstance(value, type) and issubclass(value, base)  # noqa: E731
    return Registry(group, own, f"a subclass of {base.__name__}", fits)
