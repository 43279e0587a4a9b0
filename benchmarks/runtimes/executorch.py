"""ExecuTorch's runtime with its XNNPACK delegate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attar.benchmarks.runtimes import Profiled, some_image
from attar.export.runners.executorch import ExecuTorchRunner, use_threads
from attar.extras import require
from attar.extras import version as installed

NAME = "ExecuTorch (XNNPACK)"
_NATIVE = "native_call_"


def version() -> str:
    """The installed version."""
    return installed("executorch") or "unknown"


def preload() -> None:
    """Import the runtime's package."""
    require("executorch.runtime")


def load(path: str, threads: int) -> ExecuTorchRunner:
    """Read the file and let the delegate prepare it."""
    return ExecuTorchRunner(Path(path), threads)


def profile(path: str, threads: int, runs: int) -> list[Profiled]:
    """Profile some inferences of one random image, by ExecuTorch's event tracer (ETDump)."""
    library = use_threads(threads)
    program = library._load_for_executorch(path, enable_etdump=True)
    shape = program.method_meta("forward").input_tensor_meta(0).sizes()
    image = require("torch").from_numpy(some_image(tuple(shape)))
    for _ in range(runs):
        program.forward([image])
    with TemporaryDirectory() as folder:
        traced = Path(folder) / "profile.etdp"
        program.write_etdump_result_to_file(str(traced))
        blocks = require("executorch.devtools").Inspector(etdump_path=str(traced)).event_blocks
    return profiled([event for block in blocks if block.name == "Execute" for event in block.events])


def named(rows: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Layers are not known by name: the delegate numbers its operators, each kind for itself."""
    return list(rows)


def profiled(events: Sequence[Any]) -> list[Profiled]:
    """The inferences in ExecuTorch's events, each of which has one time in milliseconds for every inference.

    The delegate's operators are told in whole microseconds. What runs outside it is told as `native_call_`, and once
    more as the `OPERATOR_CALL` around it.
    """
    (whole,) = (event.perf_data.raw for event in events if event.name == "Method::execute")
    own = [event for event in events if event.is_delegated_op or event.name.startswith(_NATIVE)]
    return [
        Profiled(
            round(1e6 * inference),
            tuple({**_called(event.name), "nanoseconds": round(1e6 * event.perf_data.raw[run])} for event in own),
        )
        for run, inference in enumerate(whole)
    ]


def _called(name: str) -> dict[str, str]:
    name = name.removeprefix(_NATIVE)
    return {"name": name, "operator": re.sub(r" #\d+$", "", name)}
