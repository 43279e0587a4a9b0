"""The same distillation through attar, from its cache and live, and through timm: speed, time to accuracy, memory.

    python -m attar.benchmarks.studies.peers.distill --output runs/peers-distill   some half an hour on two cores
    python -m attar.benchmarks.studies.peers.distill --output runs/short --epochs 1 --photos 128

One teacher (the hybrid ViT of recipes/elpv.yaml, at the student's size, because timm shows both the same images), one
student with the same first weights, the same photos, loss, optimizer, schedule and averaging of weights. Views are
drawn from the same ranges; attar's replay from their numbers, timm's are drawn anew.

timm's training script is not part of its package. Its loop is put together here from the parts it is made of, at
their defaults: `create_loader`, `LogitDistillationTask`, `create_optimizer_v2`, `CosineLRScheduler`, `ModelEmaV3`.

Every way has a process of its own, one after the other, so that its peak memory can be told. Time is spent training
and, for the cache, building it; validation after every epoch is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attar import students, teachers
from attar.benchmarks.latency.cold_start import peak_memory
from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.elpv import RECIPE, run_attar, settings
from attar.benchmarks.studies.teacher_cache import Both, with_live
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.builtin import photos_of
from attar.data.photos import Photos, labels_of
from attar.data.store import PhotoStore
from attar.data.views import ViewLoader, ViewPolicy
from attar.distill.fit import distillation_module, loss_function
from attar.distill.losses import objective_of
from attar.distill.teacher_outputs import fill_cache
from attar.errors import GateError
from attar.export.verify import spread
from attar.files import read_json, write_json, write_text
from attar.inference import torch_device
from attar.preprocessing import Preprocessing
from attar.recipe import DistillSpec, read_recipe
from attar.train.evaluation import validator
from attar.train.loop import train


@dataclass(frozen=True)
class Work:
    """What every way is given."""

    photos: Photos
    spec: DistillSpec
    views: ViewPolicy
    teacher: Bundle
    folder: Path

    @property
    def labels_loader(self) -> ViewLoader:
        """The student's batches."""
        return self.loader(self.spec.size)

    def loader(self, size: int) -> ViewLoader:
        """Batches of views at a size."""
        store = PhotoStore(self.photos.train, size)
        labels = labels_of(self.photos.train)
        return ViewLoader(store, labels, self.views, size=size, batch_size=self.spec.batch_size, seed=0)

    def student(self) -> Any:
        """The student with its first weights."""
        torch.manual_seed(0)
        return students.create_student(
            self.spec.name, len(self.photos.labels), head=self.spec.head, drop_rate=self.spec.drop_rate
        )


class Clock:
    """Seconds of training, and top-1 on the validation photos after every epoch."""

    def __init__(self, work: Work) -> None:
        find = validator(work.photos, Preprocessing(work.spec.size, work.spec.crop, fit=work.spec.fit), "best")
        assert find is not None
        self._top1: Callable[[nn.Module], float] = find
        self.epochs: list[dict[str, float]] = []
        self._spent = 0.0

    def start(self) -> None:
        """Training begins."""
        self._since = time.perf_counter()

    def validate(self, model: nn.Module) -> float:
        """Stop, measure, go on."""
        self._spent += time.perf_counter() - self._since
        top1 = self._top1(model)
        self.epochs.append({"seconds": self._spent, "top1": top1})
        self._since = time.perf_counter()
        return top1


def attar_cached(work: Work) -> dict[str, Any]:
    """attar as it is used: the teacher's answers are stored first, unless they are there."""
    clock = Clock(work)
    began = time.perf_counter()
    cache = fill_cache(work.teacher, work.photos, work.views, work.folder / "teacher-cache", epochs=work.spec.epochs)
    building = time.perf_counter() - began
    _train(work, clock, work.labels_loader, loss_function(objective_of(work.spec), cache), cache)
    return {"epochs": clock.epochs, "building": building}


def attar_live(work: Work) -> dict[str, Any]:
    """attar's loop with the teacher asked at every step."""
    clock = Clock(work)
    shapes = fill_cache(work.teacher, work.photos, work.views, work.folder / "teacher-cache", epochs=0)
    teacher: Any = teachers.load(work.teacher).to(torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    _train(work, clock, Both(work.labels_loader, work.loader(teacher.size)), with_live(teacher), shapes)
    return {"epochs": clock.epochs, "building": 0.0}


def _train(work: Work, clock: Clock, loader: Any, loss_of: Any, cache: Any) -> None:
    spec = work.spec.model_copy(update={"select": "best"})  # so that it validates; the last epoch's accuracy counts
    model = distillation_module(work.student(), spec, cache, seed=0)
    checkpoint = work.folder / "student.training.pt"
    clock.start()
    train(model, spec, loader, loss_of, seed=0, checkpoint=checkpoint, validate=clock.validate)


def timm_task(work: Work) -> dict[str, Any]:
    """timm's parts, put together as its training script does."""
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.task import DistillationTeacher, LogitDistillationTask
    from timm.utils import ModelEmaV3

    spec, clock = work.spec, Clock(work)
    student = work.student()
    network = student.network
    network.pretrained_cfg = {"mean": (128 / 255,) * 3, "std": (128 / 255,) * 3}  # as attar's students take pixels
    teacher: Any = teachers.load(work.teacher)
    task = LogitDistillationTask(
        network,
        DistillationTeacher(teacher.network),
        criterion=nn.CrossEntropyLoss(),
        distill_loss_weight=spec.weight,
        task_loss_weight=1 - spec.weight,
        temperature=spec.temperature or 1.0,
        verbose=False,
    )
    average = ModelEmaV3(student, decay=spec.ema, use_warmup=True)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=spec.lr, weight_decay=spec.weight_decay)
    loader = _timm_loader(work, network.pretrained_cfg)
    total = spec.epochs * len(loader)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=total, warmup_t=round(spec.warmup * total), warmup_prefix=False, t_in_epochs=False
    )
    clock.start()
    step = 0
    for _ in range(spec.epochs):
        task.train()
        for images, labels in loader:
            scheduler.step_update(step)
            optimizer.zero_grad(set_to_none=True)
            task(images.contiguous(memory_format=torch.channels_last), labels)["loss"].backward()
            if spec.clip:
                nn.utils.clip_grad_norm_(network.parameters(), spec.clip)
            optimizer.step()
            step += 1
            average.update(student, step)
        clock.validate(average.module)
    return {"epochs": clock.epochs, "building": 0.0}


def _timm_loader(work: Work, normalization: dict[str, Any]) -> Any:
    """timm's loader over a folder of class folders, with views from the same ranges."""
    from timm.data import create_dataset, create_loader

    folder, views = work.folder / "timm" / "train", work.views
    for number, photo in enumerate(work.photos.train):
        link = folder / f"{photo.label:03d}" / f"{number}{photo.path.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(photo.path.resolve())
    return create_loader(
        create_dataset("", root=str(folder.parent), split="train", is_training=True),
        input_size=(3, work.spec.size, work.spec.size),
        batch_size=work.spec.batch_size,
        is_training=True,
        use_prefetcher=False,
        no_aug=False,
        scale=views.crop_area,
        ratio=(1 / views.aspect, views.aspect),
        hflip=0.5 * views.horizontal_flip,
        vflip=0.5 * views.vertical_flip,
        color_jitter=views.color,
        interpolation="bicubic",
        num_workers=max(1, (os.cpu_count() or 1) - 1),
        device=torch.device("cpu"),
        mean=normalization["mean"],
        std=normalization["std"],
    )


WAYS: dict[str, Callable[[Work], dict[str, Any]]] = {
    "attar, cached": attar_cached,
    "attar, live": attar_live,
    "timm": timm_task,
}


def main() -> None:
    """Run every way in a process of its own, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/peers-distill"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", type=int, default=128, help="side of teacher's and student's images")
    parser.add_argument("--photos", type=int, default=0, help="training photos that are taken; 0: all")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    teacher = options.output / "teacher"
    if not (teacher / "bundle.json").is_file():
        say("teacher")
        options.output.mkdir(parents=True, exist_ok=True)
        size = settings([f"teacher.options.img_size={options.size}", "teacher.epochs=4"])
        run_attar("teach", RECIPE, "-o", teacher, *size, log=options.output / "teacher.log")
    if options.way:
        print(json.dumps(_in_this_process(options)))
        return
    for way in WAYS:
        path = options.output / f"{way.replace(', ', '-')}.json"
        if not path.is_file():
            say(way)
            write_json(path, _in_its_own(way, options))
    rows = {way: read_json(options.output / f"{way.replace(', ', '-')}.json") for way in WAYS}
    results = {"epochs": options.epochs, "size": options.size, "device": describe(), "ways": rows}
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def _in_its_own(way: str, options: argparse.Namespace) -> dict[str, Any]:
    words = [sys.executable, "-m", "attar.benchmarks.studies.peers.distill", "--way", way, "--output", options.output]
    words += ["--epochs", options.epochs, "--size", options.size, "--photos", options.photos]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        raise GateError(f"{way}: {done.stderr.strip()[-600:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _in_this_process(options: argparse.Namespace) -> dict[str, Any]:
    recipe = read_recipe(RECIPE)
    photos = photos_of(recipe.data, options.output / "data")
    if options.photos:
        photos = replace(photos, train=tuple(spread(photos.train, options.photos)))
    folder = options.output / options.way.replace(", ", "-")
    folder.mkdir(exist_ok=True)
    spec = recipe.student.model_copy(update={"epochs": options.epochs, "size": options.size})
    work = Work(photos, spec, recipe.views, read_bundle(options.output / "teacher", "teacher"), folder)
    result = WAYS[options.way](work)
    seen = len(photos.train) // spec.batch_size * spec.batch_size
    return {
        **result,
        "images_per_second": seen * spec.epochs / result["epochs"][-1]["seconds"],
        "peak_bytes": peak_memory(),
    }


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    ways = results["ways"]
    mark = min(row["epochs"][-1]["top1"] for row in ways.values())
    lines = [
        "| way | images/s | building the cache, s | training, s "
        f"| s to {100 * mark:.1f}% | top-1, % | peak memory, GB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for way, row in ways.items():
        reached = next(epoch["seconds"] for epoch in row["epochs"] if epoch["top1"] >= mark)
        last = row["epochs"][-1]
        lines.append(
            f"| {way} | {row['images_per_second']:.1f} | {row['building']:.0f} | {last['seconds']:.0f} "
            f"| {reached:.0f} | {100 * last['top1']:.1f} | {row['peak_bytes'] / 1e9:.2f} |"
        )
    device_ = results["device"]
    return "\n".join(lines) + (
        f"\n\n{results['epochs']} epochs at {results['size']} px. Seconds to an accuracy (the least of the final ones) "
        "are of training alone: a first student waits for its cache too, later ones and other seeds do not. "
        f"{device_['cpu']}, {device_['cores']} cores.\n"
    )


if __name__ == "__main__":
    main()
