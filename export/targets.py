"""The target grammar: `<format>:<precision>`, decoded here and nowhere else.

    litert:fp32   float                          coreml:fp16   half precision
    litert:fp16   half-size weights              coreml:w8     8-bit weights
    litert:int8   weights and activations        coreml:lut4   4-bit tables of weights
    onnx:fp32     float                          onnx:int8     weights and activations (QDQ)
    litert:int8+fp   as int8, with the fewest layers in float that its accuracy needs

A new format is a module of this package with `convert` and `open_runner`, and one line in `FORMATS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from attar.errors import InputError, did_you_mean
from attar.extras import require_installed


@dataclass(frozen=True)
class Format:
    """A file format: the module that writes and runs it, its precisions, its suffix, what it needs installed."""

    module: str
    precisions: tuple[str, ...]
    suffix: str
    needs: tuple[str, ...]


FORMATS = {
    "litert": Format(
        "export.litert",
        ("fp32", "fp16", "int8", "int8+fp"),
        "tflite",
        ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
    ),
    "coreml": Format("export.coreml", ("fp16", "w8", "lut4"), "mlpackage", ("coremltools",)),
    "onnx": Format("export.onnx", ("fp32", "int8"), "onnx", ("onnx", "onnxscript", "onnxruntime")),
}


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
    def module(self) -> ModuleType:
        """The module that converts to it and runs it."""
        return importlib.import_module(FORMATS[self.format].module)


TARGETS = tuple(Target(name, precision) for name, form in FORMATS.items() for precision in form.precisions)
"""Everything that can be written."""


def parse_targets(names: Sequence[str]) -> list[Target]:
    """Decode target names, keeping their order; a repeated one counts once.

    Raises:
        InputError: an unknown target (with close matches), or none at all.
    """
    known = {str(target): target for target in TARGETS}
    for name in names:
        if name not in known:
            raise InputError(f"target {name!r}: unknown.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    if not names:
        raise InputError(f"No target given. Known: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)]


def require_targets(targets: Sequence[Target]) -> None:
    """Raise `MissingExtra` now, rather than after training, if a package that a target needs is missing."""
    for target in targets:
        for package in FORMATS[target.format].needs:
            require_installed(package)
