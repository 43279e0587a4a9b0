"""Core ML on each of its compute units, on a Mac only.

A unit says what Core ML may use, not what it must: it chooses among those for each operator, which `plan` tells.

**Not run yet**: the project has no Mac. What is read from a plan (`operators_of`) is tested with coremltools' own
classes; that Core ML fills them so is Apple's documentation.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.export.runners.coreml import CoreMLRunner
from attar.extras import require

_UNITS = {"ALL": "all units", "CPU_ONLY": "CPU", "CPU_AND_GPU": "CPU and GPU", "CPU_AND_NE": "CPU and Neural Engine"}
"""Names of `coremltools.ComputeUnit`, and what people call them."""


@dataclass(frozen=True)
class CoreML:
    """Core ML on the devices that `unit` allows: a runtime, as `attar.benchmarks.runtimes.Runtime` describes one."""

    unit: str

    @property
    def NAME(self) -> str:
        """What records call it."""
        return f"Core ML ({_UNITS[self.unit]})"

    def version(self) -> str:
        """The system's version: Core ML is a part of it."""
        return f"macOS {platform.mac_ver()[0]}"

    def preload(self) -> None:
        """Import the runtime's package."""
        require("coremltools")

    def load(self, path: str, threads: int) -> CoreMLRunner:
        """Compile the file for this Mac. Core ML takes no number of threads."""
        return CoreMLRunner(Path(path), self.unit)

    def plan(self, path: Path) -> list[dict[str, Any]]:
        """What Core ML plans for each operator of a file on this Mac, as `operators_of` gives it."""
        module = require("coremltools.models.compute_plan")
        unit = require("coremltools").ComputeUnit[self.unit]
        return operators_of(module.MLComputePlan.load_from_path(CoreMLRunner(path, self.unit).compiled, unit))


ALL, CPU_ONLY, CPU_AND_GPU, CPU_AND_NE = (CoreML(unit) for unit in _UNITS)


def operators_of(plan: Any) -> list[dict[str, Any]]:
    """The operators of an `MLComputePlan`, the costliest first.

    Returns:
        `{"name", "operator", "share", "device"}`: `share` is Core ML's own estimate of the operator's part in the
        whole, not a measurement, and `device` the one it prefers (`CPU`, `GPU`, `NeuralEngine`); None where it does not
        tell. Operators of which it tells neither, such as constants, are left out; a model that is no ML program has
        none.
    """
    program = plan.model_structure.program
    rows = []
    for operation in [] if program is None else _operations(program.functions["main"].block):
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if cost is None and usage is None:
            continue
        rows.append(
            {
                "name": operation.outputs[0].name if operation.outputs else "",
                "operator": operation.operator_name,
                "share": None if cost is None else float(cost.weight),
                "device": None if usage is None else _device(usage.preferred_compute_device),
            }
        )
    return sorted(rows, key=lambda row: -(row["share"] or 0.0))


def _operations(block: Any) -> Iterator[Any]:
    """Those of a block and of the blocks inside them, in the order they stand."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _device(device: Any) -> str:
    return type(device).__name__.removeprefix("ML").removesuffix("ComputeDevice")
