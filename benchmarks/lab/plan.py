"""What a browser is asked to do: which files, on which backend, in which order, and what they should answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.lab.agreement import Expected
from attar.benchmarks.latency.measure import BLOCK, MAX_SAMPLES, MIN_SAMPLES, check_unchanged, rounds
from attar.console import say
from attar.data.images import open_image
from attar.errors import InputError
from attar.files import read_json

RUNTIMES = {
    "litert": ("LiteRT.js", "@litertjs/core"),
    "onnx": ("ONNX Runtime Web", "onnxruntime-web"),
    "ort": ("ONNX Runtime Web", "onnxruntime-web"),
}
"""Export format -> the runtime that a browser has for it, and its npm package."""
ON_GPU = ("litert:fp32", "litert:fp16", "onnx:fp32", "onnx:fp16")
"""Targets also run on WebGPU. Neither runtime has integer kernels there: it would time a mixture of GPU and CPU."""
BACKENDS = {"wasm": "wasm", "webgpu": "WebGPU"}
RESOLUTIONS = 50
"""A sample lasts at least this many steps of the browser's clock: several inferences where one is shorter."""


@dataclass(frozen=True)
class Job:
    """One file on one backend of a browser (`wasm` or `webgpu`)."""

    entry: Any
    backend: str

    @property
    def format(self) -> str:
        """Such as `litert`."""
        return str(self.entry.target).partition(":")[0]

    @property
    def runtime(self) -> str:
        """Its name in a record."""
        return f"{RUNTIMES[self.format][0]} ({BACKENDS[self.backend]})"

    @property
    def title(self) -> str:
        """For a person."""
        return self.entry.file if self.backend == "wasm" else f"{self.entry.file} on {BACKENDS[self.backend]}"


@dataclass(frozen=True)
class LabPlan:
    """The same for every device.

    `contents` are the files themselves, one an entry; `pixels` is uint8 N x S x S x 3; `expected` is by file, float
    N x classes; `versions` is by npm package.
    """

    name: str
    entries: tuple[Any, ...]
    contents: tuple[bytes, ...]
    pixels: np.ndarray
    expected: Expected
    seconds: float
    threads: int
    versions: Mapping[str, str]

    def jobs(self, webgpu: bool) -> tuple[Job, ...]:
        """Every file on wasm, and float files on WebGPU too where the browser has it."""
        on_gpu = [Job(entry, "webgpu") for entry in self.entries if webgpu and entry.target in ON_GPU]
        return (*(Job(entry, "wasm") for entry in self.entries), *on_gpu)

    def for_browser(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """As JSON, with addresses relative to the page."""
        count = MAX_SAMPLES // BLOCK
        return {
            "jobs": [
                {
                    "title": job.title,
                    "file": job.entry.file,
                    "runtime": job.runtime,
                    "format": job.format,
                    "backend": job.backend,
                    "url": f"files/{self.entries.index(job.entry)}",
                    "bytes": job.entry.bytes,
                    "input": job.entry.signature["input"]["name"],
                    "output": job.entry.signature["output"]["name"],
                }
                for job in jobs
            ],
            "shape": list(self.pixels.shape),
            "pixels": "pixels",
            "threads": self.threads,
            "seconds": self.seconds,
            "block": BLOCK,
            "least": MIN_SAMPLES,
            "resolutions": RESOLUTIONS,
            "rounds": list(islice(rounds(len(jobs)), count)),
        }


def make_plan(exports: Path, *, seconds: float, threads: int, versions: Mapping[str, str]) -> LabPlan:
    """Read an exports folder: files a browser can run, and the golden photos with what each file answers.

    Raises:
        InputError: no manifest, no file for a browser, a changed file, or no golden vectors of these files.
    """
    from attar.export.guide import GOLDEN, is_current
    from attar.export.manifest import read_manifest

    if threads < 1 or not seconds > 0:
        raise InputError(f"threads {threads}, seconds {seconds}: both must be positive.")
    manifest = read_manifest(exports)
    entries = tuple(entry for entry in manifest.files if entry.target.partition(":")[0] in RUNTIMES)
    if not entries:
        raise InputError(
            f"{exports}: no verified file that a browser runs. Export a LiteRT or ONNX target, "
            "for example with `attar export BUNDLE --target litert:int8`."
        )
    for entry in manifest.files:
        if entry not in entries:
            say(f"{entry.file}: not measured. No browser runs it.")
    contents = tuple(_content(exports, entry) for entry in entries)
    if not is_current(manifest, exports):
        raise InputError(
            f"{exports / GOLDEN}: the photos with the files' answers are missing, changed, or of other files. "
            "Run `attar export` again: it makes only what is missing."
        )
    golden = read_json(exports / GOLDEN / "golden.json")
    pixels = np.stack([np.asarray(open_image(exports / GOLDEN / image["file"])) for image in golden["images"]])
    expected = {entry.file: np.asarray(golden["files"][entry.file]["probabilities"]) for entry in entries}
    return LabPlan(manifest.bundle["name"], entries, contents, pixels, expected, seconds, threads, versions)


def _content(exports: Path, entry: Any) -> bytes:
    check_unchanged(exports, entry)
    return (exports / entry.file).read_bytes()
