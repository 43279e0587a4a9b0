"""What a large data set costs, from unit costs: hours, money and disk. Writes docs/planning.md.

    python -m attar.benchmarks.studies.planning --measure   measure this machine's unit costs first (two minutes)
    python -m attar.benchmarks.studies.planning             the page, from the unit costs in docs/results/planning.json
    python -m attar.benchmarks.studies.planning --gpu-tflops 312 --gpu-price 1.5 --cores 12 --output plan.md

A stage takes as long as the slower of two: the device that computes it, and the cores that draw its views. Both are
proportional to photos times passes. Unit costs of the second are measured here; those of a GPU were measured on one, by
`attar.benchmarks.studies.teacher_gpu` and `student_gpu` (docs/results/gpu-teacher.json and gpu-student.json).
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from attar import students, teachers
from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.loading import attar_batches, written
from attar.distill.topk_logits import TopK
from attar.files import read_json, write_json, write_text

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "planning.md", ROOT / "docs" / "results"
COSTS = RESULTS / "planning.json"
HOUR, TERA, GIGA = 3600, 1e12, 1e9
LOOP = "the training loop"
"""The row of `student_gpu` that a training is planned by."""


def gpu_costs() -> dict[str, float]:
    """What was measured of a GPU: its peak, 10^12 operations per second, and which share of it training reaches."""
    teacher, student = read_json(RESULTS / "gpu-teacher.json"), read_json(RESULTS / "gpu-student.json")
    peak, rate = teacher["peak"], median(student["images_per_second"][LOOP])
    return {
        "gpu_tflops": round(peak / TERA, 1),
        "teacher_share": round(teacher["teacher"]["eager"] * teacher["teacher"]["operations"] / peak, 3),
        "student_share": round(rate * student["operations"] / peak, 4),
    }


@dataclass(frozen=True)
class Plan:
    """What is to be done, and on what; every field is an option of the command.

    Attributes:
        photos: training photos.
        classes: how many.
        photo_bytes: of a stored photo, on average.
        teacher: a timm model.
        teacher_epochs: of fine-tuning all its weights.
        views: of each photo in the teacher's cache.
        kept: classes that the cache keeps of an answer.
        student: a timm model.
        student_epochs: of training it.
        gpu_tflops: what a GPU computes at best, bf16, 10^12 operations per second.
        teacher_share: of that, what a transformer reaches.
        student_share: what a small convolutional network reaches, which memory bounds.
        cores: processor cores per GPU.
        gpu_price: per hour of a GPU with its cores, dollars.
        disk_price: per GB and month, dollars.
    """

    photos: int = 2_686_843
    classes: int = 10_000
    photo_bytes: int = 83_000
    teacher: str = "vit_large_patch16_224"
    teacher_epochs: int = 3
    views: int = 10
    kept: int = 128
    student: str = "mobilenetv3_large_100"
    student_epochs: int = 60
    gpu_tflops: float = field(default_factory=lambda: gpu_costs()["gpu_tflops"])
    teacher_share: float = field(default_factory=lambda: gpu_costs()["teacher_share"])
    student_share: float = field(default_factory=lambda: gpu_costs()["student_share"])
    cores: int = 16
    gpu_price: float = 4.0
    disk_price: float = 0.08


SOURCES = {
    "photos": "iNaturalist 2021, training photos (arXiv 2103.16483, table 1)",
    "classes": "the same",
    "photo_bytes": "224 GB of training photos at 500 px, as the data set's page gives it, over their number",
    "teacher_epochs": "a choice",
    "views": "a choice; more views than this are worth less and less with so many photos",
    "kept": "a choice; attar itself chooses the smallest with a stated error (methods.md)",
    "student_epochs": "a choice",
    "gpu_tflops": "measured: the fastest bf16 matrix product of an NVIDIA H200 ([results](results.md))",
    "teacher_share": "measured on it: the forward pass, not compiled. Assumed of the backward pass too",
    "student_share": "measured on it: the training loop in batches of 256",
    "cores": "of the machine that this GPU was in",
    "gpu_price": "assumed; prices differ by a factor of four",
    "disk_price": "assumed",
}


@dataclass(frozen=True)
class Stage:
    """One stage of a plan.

    Attributes:
        name: for a person.
        passes: photos that go through it, views and epochs counted.
        computing: seconds on one GPU.
        drawing: seconds that one GPU's cores need for its views.
    """

    name: str
    passes: int
    computing: float
    drawing: float

    def hours(self, gpus: int) -> float:
        """How long it takes: the slower of the two, shared out."""
        return max(self.computing, self.drawing) / gpus / HOUR


def stages_of(plan: Plan, costs: dict[str, Any]) -> list[Stage]:
    """The stages of a run, from its plan and unit costs.

    Args:
        plan: what is to be done.
        costs: `views_per_second` of one core, and operations of one image, forward: `teacher_flops`, `student_flops`.
    """
    peak = plan.gpu_tflops * TERA
    teacher = costs["teacher_flops"] / (peak * plan.teacher_share)
    student = costs["student_flops"] / (peak * plan.student_share)
    view = 1 / (costs["views_per_second"] * plan.cores)
    # A training step costs three forward passes: one forward, two backward (for inputs and for weights).
    each = [
        ("fine-tune the teacher", plan.photos * plan.teacher_epochs, 3 * teacher),
        ("build its cache", plan.photos * plan.views, teacher),
        ("train the student", plan.photos * plan.student_epochs, 3 * student),
    ]
    return [Stage(name, passes, passes * cost, passes * view) for name, passes, cost in each]


def cache_bytes(plan: Plan) -> tuple[int, int]:
    """Bytes of the teacher's cache: packed, and with all logits in half precision."""
    answers = plan.photos * plan.views
    return answers * TopK(plan.kept, plan.classes, 1.0).dtype.itemsize, answers * plan.classes * 2


def main() -> None:
    """Write the page; with `--measure`, the unit costs first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure unit costs on this machine and keep them")
    parser.add_argument("--work", type=Path, default=Path("runs/planning"), help="photos that are measured with")
    parser.add_argument("--output", type=Path, default=PAGE)
    for name, value in asdict(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args()
    plan = Plan(**{name: getattr(options, name) for name in asdict(Plan())})
    if options.measure:
        write_json(COSTS, measured(plan, options.work))
    write_text(options.output, page(plan, read_json(COSTS)))


def measured(plan: Plan, work: Path) -> dict[str, Any]:
    """Unit costs of this machine."""
    batches = attar_batches(written(work, 512)[0], 224, 1)
    for _ in range(12):
        next(batches)
    start, drawn = time.process_time(), 0
    while time.process_time() - start < 60:
        drawn += next(batches)
    rate = drawn / (time.process_time() - start)
    with torch.device("meta"):
        teacher = teachers.create_teacher(plan.teacher, plan.classes, pretrained=False)
        student = students.create_student(plan.student, plan.classes)
    return {
        "device": describe(),
        "torch": torch.__version__,
        "views_per_second": rate,
        "teacher": plan.teacher,
        "teacher_flops": _operations(teacher),
        "student": plan.student,
        "student_flops": _operations(student),
    }


def _operations(model: nn.Module, size: int = 224) -> int:
    """Floating-point operations of a forward pass of one image, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8, device="meta"))
    return int(counter.get_total_flops())


def page(plan: Plan, costs: dict[str, Any]) -> str:
    """The page as Markdown."""
    stages = stages_of(plan, costs)
    packed, whole = cache_bytes(plan)
    photos = plan.photos * plan.photo_bytes
    hours = {gpus: sum(stage.hours(gpus) for stage in stages) for gpus in (1, 8)}
    months = math.ceil(hours[1] / (30 * 24))
    parts = [
        "# What a large data set costs",
        "",
        "Hours, money and disk for iNaturalist 2021: 2.7 million photos of 10,000 species. This page is written by",
        "`python -m attar.benchmarks.studies.planning`; every assumption is an option of that command.",
        "",
        "## The formula",
        "",
        "```",
        "hours = passes * max(operations / (peak * share), 1 / (views per second and core * cores)) / GPUs / 3600",
        "```",
        "",
        "`passes` are photos times epochs, or photos times views of the cache. `operations` are those of one image: a",
        "forward pass, or three of them in training. The second term is the loader: it draws each view anew.",
        "",
        "## Hours and money",
        "",
        _table(
            ["stage", "passes, millions", "one GPU, hours", "eight GPUs, hours", "bounded by"],
            [
                [
                    stage.name,
                    f"{stage.passes / 1e6:.1f}",
                    f"{stage.hours(1):.1f}",
                    f"{stage.hours(8):.1f}",
                    "views" if stage.drawing > stage.computing else "the GPU",
                ]
                for stage in stages
            ]
            + [["all", "", f"{hours[1]:.1f}", f"{hours[8]:.1f}", ""]],
        ),
        f"GPU hours cost {hours[1] * plan.gpu_price:,.0f} dollars, however many there are; eight need an eighth of",
        "the time if they scale, which was not measured here. Disks for a month cost "
        f"{(photos + packed) / GIGA * plan.disk_price * months:,.0f} dollars.",
        "",
        "## Disk",
        "",
        _table(
            ["what", "GB"],
            [
                ["photos", f"{photos / GIGA:,.0f}"],
                [f"teacher's cache, {plan.kept} classes of an answer", f"{packed / GIGA:,.0f}"],
                ["the same with all logits, in half precision", f"{whole / GIGA:,.0f}"],
            ],
        ),
        "## Unit costs that were measured",
        "",
        _table(
            ["what", "value", "how"],
            [
                [
                    "views per second and core",
                    f"{costs['views_per_second']:.0f}",
                    "JPEG photos of 512 px, views of 224 px",
                ],
                [
                    f"{costs['teacher']}, forward",
                    f"{costs['teacher_flops'] / GIGA:.1f} GFLOP",
                    "PyTorch's counter, two for a multiplication and an addition",
                ],
                [f"{costs['student']}, forward", f"{costs['student_flops'] / GIGA:.2f} GFLOP", "the same"],
            ],
        ),
        f"Measured on {costs['device']['cpu']}, torch {costs['torch']}.",
        "",
        "## Assumptions",
        "",
        _table(
            ["option", "value", "from"],
            [
                [f"`--{name.replace('_', '-')}`", f"{value:,}" if isinstance(value, int) else str(value), SOURCES[name]]
                for name, value in asdict(plan).items()
                if name in SOURCES
            ],
        ),
        "What follows from them:",
        "",
        *_says(plan, stages),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _says(plan: Plan, stages: list[Stage]) -> list[str]:
    """What the table means for whoever plans."""
    longest = max(stages, key=lambda stage: stage.hours(1))
    lines = [f"- Most time goes to this stage: {longest.name}."]
    for stage in stages:
        if stage.drawing > stage.computing:
            cores = math.ceil(plan.cores * stage.drawing / stage.computing)
            lines.append(
                f"- To {stage.name}, {plan.cores} cores draw views too slowly for one GPU. {cores} would be enough;"
                " smaller photos on disk help as well."
            )
    return lines


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
