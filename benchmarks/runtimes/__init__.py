"""The programs that run an exported file on this machine, behind one small protocol.

A new runtime is one module with `NAME`, `version()`, `preload()` and `load(path, threads)`, and one line in `RUNTIMES`.
Where one module has several, each is an object in it with these.
One that can tell where its time goes also has a module with `profile(path, threads, runs)` and `named(rows, path)`, and
a line in `PROFILERS`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol, runtime_checkable

import numpy as np


class Session(Protocol):
    """One loaded file, ready to run one image at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the uint8 input, batch first, with a batch of one."""
        ...

    def set_input(self, image: np.ndarray) -> None:
        """Put one uint8 batch of `shape` where the next inference reads it; not timed."""
        ...

    def infer(self) -> None:
        """Run one inference: the only call that is timed."""
        ...

    def close(self) -> None:
        """Let go of the model's memory."""
        ...


class Runtime(Protocol):
    """What a runtime's module offers."""

    NAME: str

    def version(self) -> str:
        """The installed version."""
        ...

    def preload(self) -> None:
        """Import the runtime's package, so that loading a file does not count it."""
        ...

    def load(self, path: str, threads: int) -> Session:
        """Load a file and prepare its first inference."""
        ...


@runtime_checkable
class Planner(Protocol):
    """A runtime that tells what it means to do with a file, without running it."""

    def plan(self, path: Path) -> list[dict[str, Any]]:
        """Its operators, as `conditions.plan` of a record has them."""
        ...


@dataclass(frozen=True)
class Profiled:
    """One profiled inference: its nanoseconds, and `{"name", "operator", "nanoseconds"}` in the order they ran."""

    inference: int
    operators: tuple[dict[str, Any], ...]


COREML = {
    "coreml": "attar.benchmarks.runtimes.coreml:ALL",
    "coreml-cpu": "attar.benchmarks.runtimes.coreml:CPU_ONLY",
    "coreml-gpu": "attar.benchmarks.runtimes.coreml:CPU_AND_GPU",
    "coreml-ne": "attar.benchmarks.runtimes.coreml:CPU_AND_NE",
}
"""Core ML's compute units: on a Mac its files run on each of them."""

RUNTIMES = {
    "litert": "attar.benchmarks.runtimes.litert",
    "onnx": "attar.benchmarks.runtimes.onnx",
    "ort": "attar.benchmarks.runtimes.onnx",
    "executorch": "attar.benchmarks.runtimes.executorch",
    "litert-compiled": "attar.benchmarks.runtimes.litert_compiled",
    "tensorflow": "attar.benchmarks.runtimes.tensorflow",
    **(COREML if sys.platform == "darwin" else {}),
}
"""Export format, or name of one of the `OTHERS` or of `COREML` -> what runs it: a module, or an object in one."""

OTHERS = {"litert-compiled": "litert", "tensorflow": "litert"}
"""Runtimes to choose instead of the one that has a format's name -> the format that they run."""

PROFILERS = {
    "litert": "attar.benchmarks.runtimes.litert_profile",
    "onnx": "attar.benchmarks.runtimes.onnx",
    "ort": "attar.benchmarks.runtimes.onnx",
    "executorch": "attar.benchmarks.runtimes.executorch",
    "litert-compiled": "attar.benchmarks.runtimes.litert_profile",
}
"""As in `RUNTIMES` -> the module whose `profile(path, threads, runs)` gives `Profiled` inferences. Its `named(rows,
path)` gives their operators, in the order they ran, the names of the graph's layers, if they have none."""


def runtime_for(name: str) -> Runtime:
    """The runtime of a name in `RUNTIMES`."""
    runtime: Runtime = resolve_name(RUNTIMES[name])
    return runtime


def chosen(format: str, other: str | None = None) -> tuple[str, ...]:
    """The names in `RUNTIMES` of what runs a format here, or of the one that is asked for if it runs it."""
    if other is not None:
        return (other,) if OTHERS[other] == format else ()
    names = tuple(COREML) if format == "coreml" else (format,)
    return tuple(name for name in names if name in RUNTIMES and name not in OTHERS)


def some_image(shape: tuple[int, ...]) -> np.ndarray:
    """Random pixels, uint8: no runtime here is faster on some images than on others."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
