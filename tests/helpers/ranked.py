"""What ranks of a job do together: `torchrun tests/helpers/ranked.py PHOTOS FOLDER`. The first prints JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from attar import teachers
from attar.bundle import Bundle, read_bundle
from attar.data.photos import DataSpec, Photos, labels_of, read_photos
from attar.data.store import PhotoStore
from attar.data.views import Batch, ViewLoader, ViewPolicy
from attar.distill import TeacherCache, distill_student
from attar.errors import AttarError, InputError
from attar.recipe import DistillSpec, FinetuneSpec, LossPart, TrainSpec
from attar.train import distributed
from attar.train.loop import train
from attar.train.strategies import FSDP
from attar.train.sync_batchnorm import NormsAcrossRanks

SPEC = TrainSpec(epochs=4, batch_size=12, lr=0.02)
VIT = FinetuneSpec(
    name="vit_tiny_patch16_224",
    pretrained=False,
    crop=1.0,
    epochs=3,
    batch_size=12,
    lr=2e-3,
    options={"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
)
VIEWS = ViewPolicy(crop_area=(0.7, 1.0), count=3)
CHALLENGER = {"epochs": 2, "drop_rate": 0.0, "flips": LossPart(name="ldi", weight=200.0)}
"""What differs in a student that goes on from another one: without dropout, whose numbers differ in each rank, and with
a loss against flips that is a large part of the whole."""


class Tiny(nn.Module):
    """Convolutions and batch norms, no dropout: one process and many can do the same with it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.bn(self.conv(images.float() / 255))).amax((2, 3)))


def cross_entropy(model: nn.Module, batch: Batch) -> torch.Tensor:
    return functional.cross_entropy(model(batch.images), batch.labels)


def curve(photos: Path, folder: Path, loss_of: Any = cross_entropy, **changes: Any) -> dict[str, Any]:
    """Losses by epoch and final weights of a small training."""
    data = read_photos(DataSpec(str(photos)))
    spec = SPEC.model_copy(update=changes)
    loader = ViewLoader(
        PhotoStore(data.train, 32), labels_of(data.train), VIEWS, size=32, batch_size=spec.batch_size, seed=5
    )
    trained = train(Tiny(), spec, loader, loss_of, seed=1, checkpoint=folder / "tiny.training.pt")
    weights = torch.cat([tensor.flatten().double() for tensor in trained.model.state_dict().values()])
    return {"losses": [entry["loss"] for entry in trained.history], "weights": weights.tolist()}


def norms() -> dict[str, float]:
    """Largest differences between a batch norm over all ranks and one process with the whole batch."""
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(8, 4, 5, 5, generator=generator, dtype=torch.float64) for _ in range(2))

    def run(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, nn.BatchNorm2d]:
        norm = nn.BatchNorm2d(4).double()
        x = (100 + x).requires_grad_()
        (norm(x) * y).square().mean().backward()
        return x.grad, norm  # type: ignore[return-value]

    gradient, norm = run(x, y)
    with NormsAcrossRanks():
        own, across = run(distributed.share(x), distributed.share(y))
    return {
        "gradient": float((own / distributed.count() - distributed.share(gradient)).abs().max()),
        "mean": float((norm.running_mean - across.running_mean).abs().max()),
        "variance": float((norm.running_var - across.running_var).abs().max()),
    }


def refused(work: Callable[[], Any]) -> str:
    """The error of every rank, which has to be the same."""
    try:
        work()
    except AttarError as error:
        texts = distributed.exchange(str(error))
        assert len(set(texts)) == 1, texts
        return texts[0]
    return ""


def first_fails() -> None:
    with distributed.first_alone() as works:
        if works:
            raise InputError("the first rank's disk is full")


def nan_at_one_rank(path: Path, folder: Path) -> None:
    """The third loss of rank 1 is not a number."""
    steps = []

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        steps.append(batch)
        return cross_entropy(model, batch) * (float("nan") if distributed.rank() == 1 and len(steps) >= 3 else 1.0)

    curve(path, folder, loss_of)


def main(path: Path, folder: Path) -> None:
    photos = read_photos(DataSpec(str(path)))
    other = replace(photos, fingerprint=f"of rank {distributed.rank()}")
    student = DistillSpec(
        name="mobilenetv4_conv_small_035",
        pretrained=False,
        size=32,
        batch_size=12,
        epochs=3,
        head_width=32,
        check_teacher=False,
    )
    differs = student.model_copy(update={"lr": 0.001 * (1 + distributed.rank())})
    outcome = {
        "disagreement": refused(lambda: distill_student(photos, differs, folder / "student", views=VIEWS)),
        "other photos": refused(lambda: distill_student(other, student, folder / "student", views=VIEWS)),
        "nan": refused(lambda: nan_at_one_rank(path, folder / "n")),
        "uneven": refused(lambda: curve(path, folder, batch_size=9)),
        "error": refused(first_fails),
        "norms": norms(),
        "curve": curve(path, folder / "a"),
        "accumulated": curve(path, folder / "b", accumulate=3),
    }
    taught = {
        name: teachers.teach(photos, VIT.model_copy(update=changes), folder / name, views=VIEWS)
        for name, changes in {"replicated": {}, "sharded": {"shard": True}, "accumulated": {"accumulate": 3}}.items()
    }
    outcome["teacher"] = {name: [entry["loss"] for entry in t.metrics["history"]] for name, t in taught.items()}
    outcome["teacher"]["top1"] = [taught[name].metrics["top1"] for name in ("replicated", "sharded")]
    outcome["held"] = held_by_a_rank()
    outcome["student"] = distilled(photos, student, folder, taught["replicated"])
    outcome["challenger"] = challenger(photos, student, folder / "challenger", read_bundle(folder / "student"))
    if distributed.is_first():
        print(json.dumps(outcome))
    distributed.finish()


def distilled(photos: Photos, spec: DistillSpec, folder: Path, teacher: Bundle) -> dict[str, Any]:
    """A student, and which views each rank gave the cache."""
    built: list[int] = []
    store = TeacherCache._store

    def noted(cache: TeacherCache, view: int, *rest: Any) -> None:
        built.append(view)
        store(cache, view, *rest)

    TeacherCache._store = noted  # type: ignore[method-assign]
    bundle = distill_student(photos, spec, folder / "student", teacher=teacher, views=VIEWS, cache=folder / "cache")
    views = sorted(json.loads((folder / "cache" / "cache.json").read_text())["shards"])
    return {"views": views, "built": distributed.exchange(built), "computed_on": bundle.provenance["computed_on"]}


def challenger(photos: Photos, spec: DistillSpec, output: Path, champion: Bundle) -> dict[str, Any]:
    """A student that keeps its champion's right answers: the loss of its epochs, and what it was made from."""
    bundle = distill_student(photos, spec.model_copy(update=CHALLENGER), output, views=VIEWS, start=champion)
    losses = [entry["loss"] for entry in bundle.metrics["history"]]
    return {"losses": losses, "spec": spec.model_dump(mode="json"), "champion": str(champion.path)}


def held_by_a_rank() -> dict[str, int]:
    """Parameters of a model, and how many of them this rank holds when it is sharded."""
    teacher = teachers.create_teacher(VIT.name, 3, options=VIT.options)
    model = FSDP().prepare(teacher)
    return {
        "all": sum(p.numel() for p in teacher.parameters()),
        "own": sum(p.to_local().numel() for p in model.parameters()),  # type: ignore[operator]
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
