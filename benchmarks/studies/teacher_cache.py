"""What a teacher costs while a student trains: nothing from the cache, much when it runs live.

    python -m attar.benchmarks.studies.teacher_cache --output runs/cache   some 8 minutes on two cores
    python -m attar.benchmarks.studies.teacher_cache --output runs/cache --teacher vit_tiny_patch16_224 --photos 128

The real training loop (`attar.train.loop`) takes the same photos of solar cells in the same views and order three ways,
which take turns: by labels alone, with a teacher's answers from the cache, and with the teacher asked at every step.
Live, the teacher is given its own views of the photos, drawn ahead at its own size by the same threads: all that the
cache saves is the teacher and these views. A ratio is the mean over rounds of two ways in the same round.

The teacher's weights are random: its time does not depend on them. The student is the smallest and quickest one,
where a teacher costs the most by comparison.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from attar import students, teachers
from attar.benchmarks.latency.host import describe, load_average
from attar.benchmarks.studies.elpv import RECIPE
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.builtin import photos_of
from attar.data.photos import Photos, labels_of
from attar.data.store import PhotoStore
from attar.data.views import Batch, ViewLoader, ViewPolicy
from attar.distill.cache import TeacherCache
from attar.distill.fit import distillation_module, loss_function
from attar.distill.losses import objective_of
from attar.distill.teacher_outputs import fill_cache, teacher_forward
from attar.export.verify import spread
from attar.files import write_json, write_text
from attar.inference import torch_device
from attar.metrics import bootstrap_interval
from attar.recipe import DistillSpec, read_recipe
from attar.train.checkpoints import discard
from attar.train.loop import Loader, Objective, train

LABELS, CACHED, LIVE = "labels alone", "teacher from the cache", "teacher live"


def main() -> None:
    """Build the cache, train in turns, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/cache"))
    parser.add_argument("--teacher", default="vit_base_patch16_224", help="a timm model")
    parser.add_argument("--student", default="mobilenetv3_small_100", help="a timm model")
    parser.add_argument("--size", type=int, default=128, help="side of the student's images")
    parser.add_argument("--photos", type=int, default=256, help="training photos that are taken")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6, help="of every training: the longer, the steadier")
    parser.add_argument("--live", type=int, default=1, help="rounds in which the teacher runs live too")
    options = parser.parse_args()
    results = measured(
        options.output,
        options.teacher,
        options.student,
        size=options.size,
        limit=options.photos,
        rounds=options.rounds,
        live=options.live,
        epochs=options.epochs,
    )
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def measured(
    output: Path,
    teacher: str,
    student: str,
    *,
    size: int,
    limit: int,
    rounds: int,
    live: int,
    epochs: int = 1,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Build the cache and train in turns -> images/s, round by round, as plain data.

    Args:
        output: folder for photos, cache and checkpoints.
        teacher, student: timm models.
        size: side of the student's images, pixels.
        limit: training photos that are taken, at most.
        rounds: rounds of labels and cache.
        live: rounds in which the teacher runs live too.
        epochs: of every training, all of them over the same view.
        batch_size: photos in a training step.
    """
    recipe = read_recipe(RECIPE)
    photos = photos_of(recipe.data, output / "data")
    photos = replace(photos, train=tuple(spread(photos.train, limit)))
    settings = {"name": student, "size": size, "epochs": epochs, "batch_size": batch_size}
    spec = recipe.student.model_copy(update=settings)
    bundle = _teacher(teacher, photos, output / teacher)
    views = replace(recipe.views, count=1)
    folder = output / "teacher-cache"
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    cache = fill_cache(bundle, photos, views, folder, epochs=1)
    building = time.perf_counter() - began
    courses = _courses(spec, photos, views, bundle, cache)
    return {
        "teacher": bundle.name,
        "student": spec.name,
        "size": spec.size,
        "batch_size": spec.batch_size,
        "photos": len(photos.train),
        "cache_images_per_second": len(photos.train) / building,
        "images_per_second": _in_turns(courses, spec, len(photos.labels), rounds, live, output / "student"),
        "device": describe(),
        "load_average": load_average(),
    }


def _teacher(name: str, photos: Photos, folder: Path) -> Bundle:
    """A bundle of the architecture, with random weights."""
    if not (folder / "bundle.json").is_file():
        torch.manual_seed(0)
        teachers.save(teachers.create_teacher(name, len(photos.labels)), folder, labels=photos.labels)
    return read_bundle(folder, "teacher")


@dataclass(frozen=True)
class Course:
    """One way to train: where its batches come from, and its loss; with a cache, the learner needs its shapes."""

    loader: Loader
    loss_of: Objective
    cache: TeacherCache | None = None


def _courses(
    spec: DistillSpec, photos: Photos, views: ViewPolicy, teacher: Bundle, cache: TeacherCache
) -> dict[str, Course]:
    def loader(size: int) -> ViewLoader:
        store = PhotoStore(photos.train, size)
        return ViewLoader(store, labels_of(photos.train), views, size=size, batch_size=spec.batch_size, seed=0)

    model = teachers.load(teacher).to(torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective, own = objective_of(spec), loader(spec.size)
    return {
        LABELS: Course(own, loss_function(objective, None)),
        CACHED: Course(own, loss_function(objective, cache), cache),
        LIVE: Course(Both(own, loader(model.size)), with_live(model), cache),
    }


@dataclass(frozen=True)
class Shown(Batch):
    """A batch with the same views at the teacher's size, uint8 (N, 3, S, S)."""

    to_teacher: torch.Tensor


@dataclass
class Both:
    """A student's loader and its teacher's, in step."""

    student: ViewLoader
    teacher: ViewLoader

    def __post_init__(self) -> None:
        self.batch_size = self.student.batch_size

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.student.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The student's batches with what the teacher sees."""
        for own, other in zip(self.student.epoch(epoch, start), self.teacher.epoch(epoch, start)):
            yield Shown(own.images, own.labels, own.index, own.view, other.images)


def with_live(teacher: torch.nn.Module) -> Objective:
    """The loss with the teacher asked at every step, computed as it is for the cache."""

    def loss_of(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        assert isinstance(batch, Shown)
        soft = {
            kind: torch.from_numpy(values).to(torch_device())
            for kind, values in teacher_forward(teacher, batch.to_teacher).items()
        }
        return model(batch.images, batch.labels, soft)

    return loss_of


def _in_turns(
    courses: dict[str, Course], spec: DistillSpec, classes: int, rounds: int, live: int, output: Path
) -> dict[str, list[float]]:
    """Images a second of every way, round by round."""
    rates: dict[str, list[float]] = {name: [] for name in courses}
    for turn in range(-1, rounds):  # the first one warms up
        names = [name for name in courses if name != LIVE or -1 < turn < live]
        for name in names if turn % 2 else reversed(names):  # neither always comes first
            rate = _images_per_second(courses[name], spec, classes, output)
            if turn >= 0:
                rates[name].append(rate)
        say(
            f"round {turn + 1}/{rounds}: " + ", ".join(f"{name} {rates[name][-1]:.1f}/s" for name in names if turn >= 0)
        )
    return rates


def _images_per_second(course: Course, spec: DistillSpec, classes: int, output: Path) -> float:
    torch.manual_seed(0)
    student = students.create_student(spec.name, classes, head=spec.head, head_width=spec.head_width)
    model = distillation_module(student, spec, course.cache, seed=0)
    checkpoint = output.with_name(f"{output.name}.training.pt")
    began = time.perf_counter()
    train(model, spec, course.loader, course.loss_of, seed=0, checkpoint=checkpoint)
    took = time.perf_counter() - began
    discard(checkpoint)
    return spec.epochs * course.loader.steps * course.loader.batch_size / took


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    rates, device_ = results["images_per_second"], results["device"]
    lines = ["| training | images/s | against labels alone | rounds |", "|---|---:|---:|---:|"]
    for name, rate in rates.items():
        ratios = np.array(rate) / np.array(rates[LABELS][: len(rate)])
        text = "1" if name == LABELS else f"{ratios.mean():.3f}"
        if name == CACHED:
            text += " [{:.3f}, {:.3f}]".format(*bootstrap_interval(ratios))
        lines.append(f"| {name} | {median(rate):.1f} | {text} | {len(rate)} |")
    speedup = np.median(np.array(rates[CACHED][: len(rates[LIVE])]) / np.array(rates[LIVE])) if rates[LIVE] else None
    text = f" From the cache training is {speedup:.0f} times as fast as with the teacher live." if speedup else ""
    return "\n".join(lines) + (
        f"\n\n{results['student']} at {results['size']} px, batches of {results['batch_size']}, taught by "
        f"{results['teacher']}: medians of rounds in turns over {results['photos']} photos, with the 95% bootstrap "
        f"interval of the ratio's mean.{text} The cache was built at {results['cache_images_per_second']:.1f} "
        f"images/s, once for each view. {device_['cpu']}, {device_['cores']} cores.\n"
    )


if __name__ == "__main__":
    main()
