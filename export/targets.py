"""The target grammar: `<format>:<precision>`, decoded here and nowhere else; `attar.export.formats` has the formats.

`litert:all` means every precision of a format that this machine can write, and `all` every format's. Where the files
of a format are made for one device, it follows a plus: `qnn:int8+sm8750`, `qnn:all+sm8650`; without it the default.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from attar.errors import InputError, MissingExtra, did_you_mean
from attar.export.formats import FORMATS, Tolerance
from attar.extras import OPTIONAL, require_installed, version


@dataclass(frozen=True)
class Target:
    """One file to write."""

    format: str
    precision: str
    option: str = ""
    """What it is made for, of the format's `choice`."""

    def __str__(self) -> str:
        return f"{self.format}:{self.precision}" + (f"+{self.option}" if self.option else "")

    @property
    def file(self) -> str:
        """Its name in the exports folder."""
        made_for = f"-{self.option}" if self.option else ""
        return f"{self.format}-{self.precision}{made_for}.{FORMATS[self.format].suffix}"

    @property
    def options(self) -> dict[str, str]:
        """Further keyword arguments of its module's `convert`."""
        choice = FORMATS[self.format].choice
        return {choice.name: self.option} if choice else {}

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
        return self.precision.startswith("int8") or self.precision.removesuffix("+fp").endswith(("a8", "a16"))

    @property
    def versions(self) -> dict[str, str | None]:
        """The installed version of every package that has a part in writing and running it."""
        needs = FORMATS[self.format].needs
        used = [item.distribution for item in OPTIONAL if item.module in needs]
        return {name: version(name) for name in ("torch", "timm", *used)}


def every_target() -> tuple[Target, ...]:
    """Everything that can be written, for the default device."""
    return tuple(target for name in FORMATS for target in _targets(name))


def target_of(name: str) -> Target | None:
    """The one target that a manifest calls so; None if there is none."""
    targets = _named().get(name, [])
    return targets[0] if len(targets) == 1 and str(targets[0]) == name else None


def parse_targets(names: Sequence[str]) -> list[Target]:
    """Decode target names, keeping their order; a repeated one counts once.

    Raises:
        InputError: an unknown target (with close matches), or none at all.
    """
    named = _named()
    for name in names:
        if name not in named:
            raise InputError(f"target {name!r}: unknown.{did_you_mean(name, named)} Known: {_known()}.")
    if not names:
        raise InputError(f"No target given. Known: {_known()}.")
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
    named: dict[str, list[Target]] = {}
    for name, form in FORMATS.items():
        made = _targets(name)
        named |= {f"{name}:{target.precision}": [target] for target in made}
        named[f"{name}:all"] = made
        for option in form.choice.values if form.choice else ():
            chosen = [replace(target, option=option) for target in made]
            named |= {str(target): [target] for target in chosen}
            named[f"{name}:all+{option}"] = chosen
    return {**named, "all": list(every_target())}


def _targets(name: str) -> list[Target]:
    """Every precision of a format, for its default device."""
    form = FORMATS[name]
    option = form.choice.default if form.choice else ""
    return [Target(name, precision, option) for precision in form.precisions]


def _known() -> str:
    """The names that can be given, in short."""
    plain = [name for name in _named() if "+" not in name or name.partition("+")[2] == "fp"]
    choices = [
        f"{name} files are for one {form.choice.name}, as in {name}:all+{form.choice.default}: "
        f"{', '.join(f'{value} ({title})' for value, title in form.choice.values.items())}"
        for name, form in FORMATS.items()
        if form.choice
    ]
    return ". ".join([", ".join(plain), *choices])
