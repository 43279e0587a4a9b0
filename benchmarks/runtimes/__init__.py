"""The programs that run an exported file on this machine, behind one small protocol.

What loads a file is the runner of its format (`attar.export.runners`), which verification uses too. A new runtime is
one module with `NAME`, `version()`, `preload()` and `load(path, threads)`, and one `Described` in
`RUNTIMES`. Where one module has several, each is an object in it with these. Another package adds one by an entry point
of the group `attar.runtimes` (docs/extending.md).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol, runtime_checkable

import numpy as np

from attar.export.runners import Session
from attar.plugins import instances


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


@dataclass(frozen=True)
class Described:
    """All that is known of a runtime before it is imported.

    Attributes:
        place: the module that is a `Runtime`, or an object in one, as `module:object`.
        format: the export format whose files it runs.
        usual: whether it runs these files unless another is asked for by name.
        profiler: module with `profile(path, threads, runs)`, which gives `Profiled` inferences, and `named(rows,
            path)`, which gives their operators, in the order they ran, the names of the graph's layers, if they have
            none. Empty: it cannot tell where its time goes.
        bounded: whether the machine's best rates, which bound a latency, can still be measured in a process that has
            imported it.
    """

    place: str
    format: str
    usual: bool = True
    profiler: str = ""
    bounded: bool = True


_HERE = "attar.benchmarks.runtimes"

COREML = {
    "coreml": Described(f"{_HERE}.coreml:ALL", "coreml"),
    "coreml-cpu": Described(f"{_HERE}.coreml:CPU_ONLY", "coreml"),
    "coreml-gpu": Described(f"{_HERE}.coreml:CPU_AND_GPU", "coreml"),
    "coreml-ne": Described(f"{_HERE}.coreml:CPU_AND_NE", "coreml"),
}
"""Core ML's compute units: on a Mac its files run on each of them."""

_OWN = {
    "litert": Described(f"{_HERE}.litert", "litert", profiler=f"{_HERE}.litert_profile"),
    "onnx": Described(f"{_HERE}.onnx", "onnx", profiler=f"{_HERE}.onnx"),
    "ort": Described(f"{_HERE}.onnx", "ort", profiler=f"{_HERE}.onnx"),
    "executorch": Described(f"{_HERE}.executorch", "executorch", profiler=f"{_HERE}.executorch"),
    "litert-compiled": Described(f"{_HERE}.litert_compiled", "litert", usual=False, profiler=f"{_HERE}.litert_profile"),
    # Measuring the machine's best rates imports Triton, by way of torch, which crashes once TensorFlow is loaded.
    "tensorflow": Described(f"{_HERE}.tensorflow", "litert", usual=False, bounded=False),
    **(COREML if sys.platform == "darwin" else {}),
}
RUNTIMES = instances("attar.runtimes", Described, _OWN)
"""Name -> runtime. A runtime that usually runs a format's files may have the format's name."""


def others() -> tuple[str, ...]:
    """The runtimes to choose instead of those that usually run a format."""
    return tuple(name for name, each in RUNTIMES.items() if not each.usual)


def runtime_for(name: str) -> Runtime:
    """The runtime of a name in `RUNTIMES`."""
    runtime: Runtime = resolve_name(RUNTIMES[name].place)
    return runtime


def chosen(format: str, other: str | None = None) -> tuple[str, ...]:
    """The names in `RUNTIMES` of what runs a format here, or of the one that is asked for if it runs it."""
    if other is not None:
        return (other,) if RUNTIMES[other].format == format else ()
    return tuple(name for name, each in RUNTIMES.items() if each.format == format and each.usual)


def some_image(shape: tuple[int, ...]) -> np.ndarray:
    """Random pixels, uint8: no runtime here is faster on some images than on others."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
