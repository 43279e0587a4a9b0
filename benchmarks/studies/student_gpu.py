"""What bounds a student's training on a device: the step's arithmetic, its launches, the loop around it, or the views.

    python -m attar.benchmarks.studies.student_gpu --output runs/gpu-student   MobileNetV3-large at 224 on a GPU
    python -m attar.benchmarks.studies.student_gpu --output runs/gpu-student --batch 8 --size 32 --steps 8 --photos 16

The step alone: forward, backward and optimizer over one batch that is on the device already; on a GPU also as one CUDA
graph, whose kernels are launched all at once, and with `--compile` by `torch.compile`. The loop: the real training
(`attar.train.loop`) with batches that lie ready in memory, so with copies, losses that are read, averaged weights and
checks; on a GPU also as it would be if it read each loss before the next step and copied each batch when it needed it.
The views: the same with views drawn from JPEG photos, by all cores but one. The rows take turns; rates are those of the
steps after the first third, which warms up. The share is of the device's fastest matrix product (`teacher_gpu`), by the
operations that PyTorch counts in a forward pass, three of them for a step.

Beside the rates, of a GPU: the part of the step's time in which a kernel runs, and how often in a step of the loop the
processor waits for the GPU (`torch.cuda.set_sync_debug_mode`), reading a loss that is done apart.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from attar import students
from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.teacher_gpu import device_name, finish, matrix_peak
from attar.console import say
from attar.data.photos import Photo
from attar.data.store import PhotoStore
from attar.data.views import Batch, ViewLoader, ViewPolicy, default_workers
from attar.distill.fit import distillation_module, loss_function
from attar.distill.losses import objective_of
from attar.files import write_json, write_text
from attar.inference import to_tensor, torch_device
from attar.recipe import DistillSpec
from attar.train import loop
from attar.train.checkpoints import discard
from attar.train.loop import Loader, train

CLASSES = 1000
HELD = 8
"""Batches that lie ready in memory, taken in turn."""


def main() -> None:
    """Measure, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/gpu-student"))
    parser.add_argument("--student", default="mobilenetv3_large_100", help="a timm model")
    parser.add_argument("--size", type=int, default=224, help="side of its images")
    parser.add_argument("--batch", type=int, default=256, help="photos in a step")
    parser.add_argument("--steps", type=int, default=90, help="steps of every row")
    parser.add_argument("--photos", type=int, default=2048, help="photos that views are drawn from")
    parser.add_argument("--rounds", type=int, default=3, help="turns that the rows take")
    parser.add_argument("--compile", action="store_true", help="compiled rows too: minutes of compilation")
    options = parser.parse_args()
    results = measured(options)
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All rows, as plain data."""
    where = torch_device()
    spec = DistillSpec(name=options.student, size=options.size, epochs=1, batch_size=options.batch, head="stock")
    rates: dict[str, list[float]] = {}

    def row(name: str, rate: Callable[[], float]) -> None:
        rates.setdefault(name, []).append(rate())
        say(f"{name}: {rates[name][-1]:,.0f}/s")

    held = Held(options.batch, options.size, options.steps)
    views = drawn(spec, options)
    for _ in range(options.rounds):
        row("the step alone", lambda: step_rate(spec, options.steps))
        if where.type == "cuda":
            row("the step alone, one CUDA graph", lambda: graph_rate(spec, options.steps))
        row("the training loop", lambda: loop_rate(spec, held, options.output))
        if where.type == "cuda":
            with waiting():
                row("the training loop, if it waited", lambda: loop_rate(spec, held, options.output))
        row("the training loop, views drawn", lambda: loop_rate(spec, views, options.output))
    if options.compile:
        row("the step alone, compiled", lambda: step_rate(spec, options.steps, compiled=True))
    gpu: dict[str, float] = {}
    if where.type == "cuda":  # last: a profiler slows everything after it
        gpu = {"waits": waits_per_step(spec, options), "busy": busy_share(spec)}
    with FlopCounterMode(display=False) as counter:
        students.create_student(spec.name, CLASSES, head="stock").eval()(held.batches[0].images[:1])
    return {
        "on": device_name(where),
        "device": describe(),
        "torch": torch.__version__,
        "peak": max(matrix_peak(side, where) for side in ((4096, 8192) if where.type == "cuda" else (256, 512))),
        "operations": 3 * counter.get_total_flops(),
        "student": spec.name,
        "size": spec.size,
        "batch_size": spec.batch_size,
        "workers": default_workers(),
        "images_per_second": rates,
        **gpu,
    }


def step_rate(spec: DistillSpec, steps: int, compiled: bool = False) -> float:
    """Images/s of forward, backward and optimizer over a batch on the device."""
    return rate_of(step_of(spec, compiled), spec.batch_size, steps)


def graph_rate(spec: DistillSpec, steps: int) -> float:
    """The same as one CUDA graph."""
    step, graph = step_of(spec), torch.cuda.CUDAGraph()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # before it is captured, every library must have been set up
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    with torch.cuda.graph(graph):
        step()
    return rate_of(graph.replay, spec.batch_size, steps)


def step_of(spec: DistillSpec, compiled: bool = False) -> Callable[[], None]:
    """A training step by labels alone, over the same batch each time, without the loop's checks."""
    where = torch_device()
    model = distillation_module(students.create_student(spec.name, CLASSES, head="stock"), spec, None, seed=0)
    model = model.to(where, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    on_gpu = where.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=on_gpu, capturable=on_gpu)
    batch = Held(spec.batch_size, spec.size, 1).batches[0].to(where)
    call: Any = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(where.type, torch.bfloat16, enabled=on_gpu, cache_enabled=False):
            loss = call(batch.images, batch.labels)
        loss.backward()
        optimizer.step()

    return step


def rate_of(step: Callable[[], None], batch_size: int, steps: int) -> float:
    """Images/s of a step, after some that warm up."""
    where = torch_device()
    for _ in range(max(3, steps // 3)):
        step()
    finish(where)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    finish(where)
    return batch_size * steps / (time.perf_counter() - began)


def busy_share(spec: DistillSpec, steps: int = 10) -> float:
    """Part of the step's time in which the GPU runs a kernel."""
    step, where = step_of(spec), torch_device()
    for _ in range(steps):
        step()
    finish(where)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(steps):
            step()
        finish(where)
    kernels = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return kernels / steps * rate_of(step, 1, 4 * steps)


def waits_per_step(spec: DistillSpec, options: argparse.Namespace) -> float:
    """How often the processor waits for the GPU in a step of the training loop."""

    def waits(steps: int) -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            loop_rate(spec, Held(spec.batch_size, spec.size, steps), options.output)
            torch.cuda.set_sync_debug_mode("default")
        found = [str(each.message) for each in caught if "synchronizing" in str(each.message)]
        return len(found)

    return (waits(24) - waits(12)) / 12


@contextmanager
def waiting() -> Iterator[None]:
    """A block in which the loop reads each loss before the next step and copies each batch when it needs it."""
    late, ahead = loop.reads_late, loop.on_device
    try:
        loop.reads_late = lambda where: False
        loop.on_device = lambda batches, where: (batch.to(where) for batch in batches)
        yield
    finally:
        loop.reads_late, loop.on_device = late, ahead


def loop_rate(spec: DistillSpec, loader: Loader, output: Path) -> float:
    """Images/s of the real training by labels alone, over the batches of a loader."""
    torch.manual_seed(0)
    model = distillation_module(students.create_student(spec.name, CLASSES, head="stock"), spec, None, seed=0)
    timed, checkpoint = Timed(loader), output / "student.training.pt"
    discard(checkpoint)
    train(model, spec, timed, loss_function(objective_of(spec), None), seed=0, checkpoint=checkpoint)
    discard(checkpoint)
    times = timed.asked[len(timed.asked) // 3 :]
    return loader.batch_size * (len(times) - 1) / (times[-1] - times[0])


class Held:
    """Batches of noise that lie ready in memory."""

    def __init__(self, batch_size: int, size: int, steps: int) -> None:
        self.batch_size, self.steps = batch_size, steps
        random = np.random.default_rng(0)
        self.batches = [self._batch(random, size) for _ in range(min(HELD, steps))]

    def _batch(self, random: np.random.Generator, size: int) -> Batch:
        pixels = random.integers(0, 256, (self.batch_size, size, size, 3), dtype=np.uint8)
        labels = torch.from_numpy(random.integers(0, CLASSES, self.batch_size))
        return Batch(to_tensor(pixels), labels, np.arange(self.batch_size), np.zeros(self.batch_size, np.int64))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `attar.train.loop.Loader`."""
        for step in range(start, self.steps):
            yield self.batches[step % len(self.batches)]


class Timed:
    """A loader that notes when each batch was asked for."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.batch_size, self.steps = loader.batch_size, loader.steps
        self.asked: list[float] = []

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `attar.train.loop.Loader`."""
        for batch in self._loader.epoch(epoch, start):
            self.asked.append(time.perf_counter())
            yield batch


def drawn(spec: DistillSpec, options: argparse.Namespace) -> ViewLoader:
    """Views of JPEG photos of 500 px; in an epoch each photo is seen as often as the steps need."""
    folder = options.output / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for number in range(min(options.photos, 256)):
        path = folder / f"{number}.jpg"
        if not path.is_file():
            coarse = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((500, 500), Image.Resampling.BICUBIC).save(path, quality=90)
        photos.append(Photo(path, number % CLASSES))
    repeated = photos * -(-options.steps * spec.batch_size // len(photos))
    store = _Repeated(PhotoStore(photos, spec.size), len(repeated))
    labels = np.array([photo.label for photo in repeated], np.int64)
    return ViewLoader(store, labels, ViewPolicy(), size=spec.size, batch_size=spec.batch_size, seed=0)  # type: ignore[arg-type]


class _Repeated:
    """A store of few photos that stands for many."""

    def __init__(self, store: PhotoStore, length: int) -> None:
        self._store, self._length = store, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Image.Image:
        return self._store[index % len(self._store)]


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    lines = [
        f"{results['on']}, torch {results['torch']}, {results['device']['cores']} cores. {results['student']} at "
        f"{results['size']} px, batches of {results['batch_size']}; views by {results['workers']} workers.",
        "",
        "| what runs | images/s | of all turns | share of the peak |",
        "|---|---:|---:|---:|",
    ]
    for name, turns in results["images_per_second"].items():
        rate = median(turns)
        share = 100 * rate * results["operations"] / results["peak"]
        lines.append(f"| {name} | {rate:,.0f} | {min(turns):,.0f} to {max(turns):,.0f} | {share:.1f}% |")
    lines += ["", f"The peak: {results['peak'] / 1e12:.2f} TFLOP/s of a bf16 matrix product."]
    if "busy" in results:
        lines[-1] += (
            f" A kernel runs in {100 * results['busy']:.0f}% of the step's time. In a step of the loop, the processor "
            f"waits for the GPU {results['waits']:.1f} times."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
