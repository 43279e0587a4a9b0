"""Quantization-aware distillation: a student is trained on while the rounding of its integer file is simulated.

Weights are rounded to 8 bits for each output channel, activations to 8 bits for each tensor, where the LiteRT
quantizer rounds them; gradients pass the rounding unchanged and stop where it clips (Jacob et al., arXiv 1712.05877,
section 3). Batch norms keep their statistics: in the file they are constants. They are measured on training photos
before it begins (`attar.train.batchnorm`), not after: what is trained is the function with these very constants. A norm
after a convolution need not be folded into it first, as there: its factor multiplies a whole channel, and so the
channel's scale, and the integers are the same.

What is written is a plain student again, whose weights bear rounding better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn
from torch.nn.utils import parametrize

from attar import students
from attar.bundle import Bundle, as_bundle
from attar.data.photos import Photos
from attar.data.views import ViewPolicy
from attar.distill.champion import require_champion, with_flips
from attar.distill.distill import cache_of, save
from attar.distill.fit import Task, fit, steps_of
from attar.distill.teacher_outputs import identity_of
from attar.errors import InputError
from attar.recipe import DistillSpec
from attar.students import DWSConvHead, Student
from attar.students.create import build
from attar.train import distributed
from attar.train.checkpoints import discard
from attar.train.evaluation import TrainingSample
from attar.train.loop import scheduled
from attar.train.warm_start import about as about_start

SHARE = 0.1
"""Of the recipe's epochs, and of its learning rate: the student has learned already."""

MOMENTUM = 0.02
"""Weight of a batch's least and largest value in the moving averages that make an activation's range."""


class RoundedWeights(nn.Module):
    """Weights (O, ...) -> the same rounded to 8 bits, symmetric, with a scale for each output channel."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Values in 127 steps either way, gradients as if nothing had happened."""
        scale = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-12) / 127
        return torch.fake_quantize_per_channel_affine(weight, scale, torch.zeros_like(scale), 0, -127, 127)


class RoundedActivation(nn.Module):
    """A tensor -> the same rounded to 8 bits over a range that follows what is seen in training.

    Args:
        positive: what follows is a ReLU: only positive values are represented.
    """

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, positive: bool = False) -> None:
        super().__init__()
        self.positive = positive
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("high", torch.tensor(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape."""
        if self.training:
            self._follow(x.detach())
        low, high = self.low.clamp(max=0.0), self.high.clamp(min=0.0)
        scale = ((high - low) / 255).clamp(min=1e-9)
        zero = torch.round(-low / scale).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)

    def _follow(self, x: torch.Tensor) -> None:
        low, high = torch.aminmax(x.float())
        fresh = bool(self.low == 0) and bool(self.high == 0)
        weight = 1.0 if fresh else MOMENTUM
        self.low.lerp_(torch.zeros_like(low) if self.positive else low, weight)
        self.high.lerp_(high, weight)


class QuantizationAware(nn.Module):
    """A student whose weights and activations are rounded as its integer file's; batch norms stay in evaluation mode.

    The student's parameters are those that are trained. `plain` gives a student with them.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        for module in list(student.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                parametrize.register_parametrization(module, "weight", RoundedWeights())
        for module, positive in list(_places(student)):
            module.add_module("rounded", RoundedActivation(positive))
            module.register_forward_hook(_round_output)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images (N, 3, H, W) -> logits."""
        return self.student(images)

    def outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """As the student's own."""
        return self.student.outputs(images)

    def train(self, mode: bool = True) -> QuantizationAware:
        """Set the mode of everything but batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = False
        return self

    def plain(self) -> Student:
        """A student with the weights as they are before rounding, in evaluation mode."""
        twin = build(self.student.architecture)
        state = {
            key.replace("parametrizations.weight.original", "weight"): value
            for key, value in self.student.state_dict().items()
            if ".rounded." not in key
        }
        twin.load_state_dict(state)
        return twin.eval()


def _round_output(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    # By name, so that a copy of the module (the moving average) uses its own.
    return module.rounded(output)  # type: ignore[operator]


def _places(student: Student) -> Iterator[tuple[nn.Module, bool]]:
    """Modules whose outputs the integer file rounds, and whether a ReLU follows that is part of the same operator."""
    heads = {id(norm) for head in student.modules() if isinstance(head, DWSConvHead) for norm in (head.bn1, head.bn2)}
    for module in student.modules():
        if isinstance(module, BatchNormAct2d):
            yield module, False
            if not isinstance(module.act, nn.ReLU | nn.ReLU6 | nn.Identity):
                yield module.drop, False  # what the activation function reads is a tensor of its own
        elif isinstance(module, nn.BatchNorm2d):
            yield module, id(module) in heads
        elif isinstance(module, nn.Linear | SqueezeExcite) or getattr(module, "has_skip", False):
            yield module, False  # a product or an addition makes a tensor of its own


def quantization_aware(
    student: Bundle | Path | str,
    photos: Photos,
    spec: DistillSpec,
    output: Path | str,
    *,
    teacher: Bundle | Path | str | None = None,
    views: ViewPolicy | None = None,
    cache: Path | str | None = None,
    seed: int = 0,
    champion: Bundle | Path | str | None = None,
) -> Bundle:
    """Train a student on for its integer file, and write the new one's bundle to `output`.

    Args:
        student: the trained student's bundle; its architecture and image size are kept.
        photos: its photos.
        spec: the schedule it was trained by, of which `SHARE` of the epochs and of the learning rate are taken.
        output: folder of the bundle. An interrupted run continues from `<output>.training.pt`.
        teacher: its teacher's bundle; without one, labels alone.
        views: the view policy.
        cache: folder of the teacher cache; by default `<output>.teacher-cache`.
        seed: of dropout and the order of photos.
        champion: an earlier student, whose right answers are kept as `spec.flips` says (`attar.distill.champion`).

    Raises:
        InputError: the student or teacher has other labels; a cache or checkpoint of another run; a loss against
            negative flips without a champion.
    """
    views = views or ViewPolicy()
    parent, output = as_bundle(student, "student"), Path(output)
    teacher = as_bundle(teacher, "teacher") if teacher else None
    if distributed.count() > 1:
        raise InputError("Training for integers runs in one process. Start it without torchrun.")
    if parent.labels != photos.labels:
        raise InputError(f"{parent.path}: its classes are not those of {photos.spec.path}. Give the student's photos.")
    champion = as_bundle(champion, "student") if champion else None
    preprocessing = parent.preprocessing
    require_champion(spec, champion)
    if champion is not None:
        spec = with_flips(spec, champion, photos.labels, taught=teacher is not None)
    spec = scheduled(spec, steps_of(spec, photos, teacher))
    schedule = {"epochs": max(1, round(SHARE * spec.epochs)), "lr": SHARE * spec.lr}
    task = Task(
        photos,
        spec.model_copy(update={"name": parent.name, "size": preprocessing.size, **schedule}),
        preprocessing,
        views,
        teacher,
        Path(cache) if cache else cache_of(output),
        seed,
        checkpoint=output.with_name(f"{output.name}.training.pt"),
        identity=[
            parent.fingerprint,
            identity_of(photos),
            views.to_json(),
            teacher.fingerprint if teacher else None,
            *([champion.fingerprint] if champion else []),
        ],
        title=f"Training {parent.name} for integers",
        champion=champion if spec.flips else None,
    )
    plain = students.load(parent)
    TrainingSample(photos, preprocessing).remeasure(plain)
    fitted = fit(QuantizationAware(plain), task, remeasure=False)
    fitted = replace(fitted, student=fitted.student.plain())
    about: dict[str, Any] = {"quantization_aware": {"parent": {"name": parent.name, "fingerprint": parent.fingerprint}}}
    about |= {"champion": about_start(champion)} if champion else {}
    bundle = save(fitted, task, output, about=about, steps=parent.metrics.get("steps"))
    discard(task.checkpoint)
    return bundle
