"""How well a large teacher uses the device: images/s, and share of what the device computes at best.

    python -m attar.benchmarks.studies.teacher_gpu --output runs/gpu   ViT-L/16 at 224 on a GPU
    python -m attar.benchmarks.studies.teacher_gpu --output runs/gpu --teacher vit_small_patch16_224 --photos 128

Three figures. The peak: the fastest of several bf16 matrix products, large ones on a GPU. The teacher: forward passes
in bf16 over images that are on the device already, as `attar.distill.teacher_outputs` runs them, eager and compiled;
times the floating-point operations that PyTorch counts for one image (`FlopCounterMode`: two for a multiplication and
an addition; matrix products, convolutions and attention), as a share of that peak. And what is left of it in use:
building the cache from photos on disk, and training a student by labels, from the cache and with the teacher live
(`attar.benchmarks.studies.teacher_cache`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from attar import teachers
from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies import teacher_cache
from attar.console import say
from attar.files import write_json, write_text
from attar.inference import torch_device

SIDES = {"cuda": (4096, 8192, 16384), "cpu": (512, 1024, 2048)}
"""Sides of the square matrices whose product is timed."""
REPEATS = 10


def main() -> None:
    """Measure, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--teacher", default="vit_large_patch16_224", help="a timm model")
    parser.add_argument("--student", default="mobilenetv3_large_100", help="a timm model")
    parser.add_argument("--batch", type=int, default=256, help="images in a forward pass of the teacher")
    parser.add_argument("--student-batch", type=int, default=128, help="photos in a training step")
    parser.add_argument("--photos", type=int, default=1968, help="training photos for cache and student")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of training")
    parser.add_argument("--no-training", action="store_true", help="leave out the cache and the student")
    options = parser.parse_args()
    where = torch_device()
    say(f"matrix products on {device_name(where)}")
    peak = max(matrix_peak(side, where) for side in SIDES.get(where.type, SIDES["cpu"]))
    say(options.teacher)
    results: dict[str, Any] = {
        "on": device_name(where),
        "device": describe(),
        "torch": torch.__version__,
        "peak": peak,
        "batch": options.batch,
        "teacher": _teacher(options.teacher, options.batch, where),
    }
    if not options.no_training:
        results["training"] = teacher_cache.measured(
            options.output,
            options.teacher,
            options.student,
            size=224,
            limit=options.photos,
            rounds=options.rounds,
            live=1,
            batch_size=options.student_batch,
        )
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def matrix_peak(side: int, where: torch.device) -> float:
    """Floating-point operations a second of a bf16 product of two square matrices, the best of several."""
    a, b = (torch.randn(side, side, device=where, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / min(_seconds(lambda: a @ b, where))


def _teacher(name: str, batch: int, where: torch.device) -> dict[str, Any]:
    """Images/s of the forward pass, eager and compiled, and operations for one image."""
    teacher: Any = teachers.create_teacher(name, 1_000).to(where, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    images = torch.randint(0, 256, (batch, 3, teacher.size, teacher.size), dtype=torch.uint8, device=where)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        teacher(images[:1])
    row: dict[str, Any] = {"name": name, "size": teacher.size, "operations": counter.get_total_flops()}
    for way, model in {"eager": teacher, "compiled": torch.compile(teacher)}.items():
        with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16):
            try:
                row[way] = batch / median(_seconds(lambda model=model: model(images), where))  # type: ignore[misc]
            except Exception as error:  # no compiler here, say
                row[way] = " ".join(str(error).split())[:120] or type(error).__name__
    return row


def _seconds(run: Callable[[], Any], where: torch.device) -> list[float]:
    """Seconds of each of several runs, after two that warm up."""
    taken = []
    for _ in range(REPEATS + 2):
        finish(where)
        began = time.perf_counter()
        run()
        finish(where)
        taken.append(time.perf_counter() - began)
    return taken[2:]


def finish(where: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def device_name(where: torch.device) -> str:
    """What a device calls itself."""
    return torch.cuda.get_device_name(where) if where.type == "cuda" else str(describe()["cpu"])


def markdown(results: dict[str, Any]) -> str:
    """The tables, as docs/results.md shows them."""
    teacher, peak = results["teacher"], results["peak"]
    lines = [
        f"{results['on']}, torch {results['torch']}. Fastest bf16 matrix product: {peak / 1e12:.2f} TFLOP/s.",
        "",
        f"| {teacher['name']}, bf16, batches of {results['batch']} | images/s | share of that peak |",
        "|---|---:|---:|",
    ]
    for way in ("eager", "compiled"):
        rate = teacher[way]
        if isinstance(rate, str):
            lines.append(f"| {way} | failed: {rate} | |")
        else:
            lines.append(f"| {way} | {rate:.1f} | {100 * rate * teacher['operations'] / peak:.0f}% |")
    training = "\n" + teacher_cache.markdown(results["training"]) if "training" in results else ""
    return "\n".join(lines) + "\n" + training


if __name__ == "__main__":
    main()
