"""The target grammar: `<format>:<precision>`, decoded here and nowhere else; `attar.export.formats` has the formats.

`litert:all` means every precision of a format that this machine can write, and `all` every format's.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from attar.errors import InputError, MissingExtra, did_you_mean
from attar.export.formats import FORMATS, Tolerance
from attar.extras import OPTIONAL, require_installed, version


@dataclass(frozen=True)
class Target:
    """One file to write."""

    format: str
    precision: str

    def __str__(self) -> str:
        return f"{self.format}:{self.precision}"

    @property
    def file(self) -> str:
        """Its name in the exports folder."""
        return f"{self.format}-{self.precision}.{FORMATS[self.format].suffix}"

    @property
    def tolerance(self) -> Tolerance:
        """How far its file may be from its student."""
        return FORMATS[self.format].precisions[self.precision]

    @property
    def module(self) -> ModuleType:
        """The module that converts to it and runs it."""
        return importlib.import_module(FORMATS[self.format].module)

    @property
    def calibrated(self) -> bool:
        """Whether activations are quantized too, their ranges taken from calibration images."""
        return self.precision.startswith("int8") or self.precision.endswith("a8")

    @property
    def versions(self) -> dict[str, str | None]:
        """The installed version of every package that has a part in writing and running it."""
        needs = FORMATS[self.format].needs
        used = [item.distribution for item in OPTIONAL if item.module in needs]
        return {name: version(name) for name in ("torch", "timm", *used)}


def every_target() -> tuple[Target, ...]:
    """Everything that can be written."""
    return tuple(Target(name, precision) for name, form in FORMATS.items() for precision in form.precisions)


def parse_targets(names: Sequence[str]) -> list[Target]:
    """Decode target names, keeping their order; a repeated one counts once.

    Raises:
        InputError: an unknown target (with close matches), or none at all.
    """
    named = _named()
    for name in names:
        if name not in named:
            raise InputError(f"target {name!r}: unknown.{did_you_mean(name, named)} Known: {', '.join(named)}.")
    if not names:
        raise InputError(f"No target given. Known: {', '.join(named)}.")
    return list(dict.fromkeys(target for name in names for target in named[name]))


def require_targets(targets: Sequence[Target]) -> None:
    """Raise `MissingExtra` now, rather than after training, if a package that a target needs is missing."""
    for target in targets:
        for package in FORMATS[target.format].needs:
            require_installed(package)


def choose_targets(names: Sequence[str]) -> tuple[list[Target], dict[str, str]]:
    """Decode target names for this machine: of `all` and `<format>:all`, what it can write.

    Returns:
        The targets to write, and why others are left out: target -> reason.

    Raises:
        InputError: an unknown target, or none at all.
        MissingExtra: a package is missing that a target given by its own name needs, or every target.
    """
    chosen, left_out = [], {}
    for target in parse_targets(names):
        try:
            require_targets([target])
            chosen.append(target)
        except MissingExtra as error:
            if str(target) in names:
                raise
            left_out[str(target)] = str(error)
    if not chosen:
        raise MissingExtra("No target can be written here:\n  " + "\n  ".join(dict.fromkeys(left_out.values())))
    return chosen, left_out


def _named() -> dict[str, list[Target]]:
    """Every name that can be given, and the targets it means."""
    formats = {name: [Target(name, precision) for precision in form.precisions] for name, form in FORMATS.items()}
    every = [target for targets in formats.values() for target in targets]
    return {
        **{str(target): [target] for target in every},
        **{f"{name}:all": targets for name, targets in formats.items()},
        "all": every,
    }
