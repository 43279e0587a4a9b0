"""The training loop, read from top to bottom; teachers are fitted and students distilled by it.

AdamW, cosine schedule with linear warm-up (arXiv 1608.03983 without restarts), an exponential moving
average of the weights, gradient clipping. What makes a loss is the caller's: a function of (model,
batch).

A run can be killed at any moment and ends, when started again, in the same weights bit for bit on a
CPU: the order of photos and their views are pure functions of the seed, and a checkpoint holds
everything else (weights, average, optimizer, random state, position). The weights returned are those
of the last step, never the best on the validation photos: those are what the results are reported on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from timm.utils import ModelEmaV3
from torch import nn

from attar.console import bar
from attar.errors import GateError, InputError
from attar.files import digest_of, replacing
from attar.inference import device
from attar.recipe import TrainSpec
from attar.views import Batch


class Loader(Protocol):
    """What the loop needs of `attar.views.ViewLoader`."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of one epoch, from step `start` on."""


@dataclass
class Trained:
    """What training gives back: the model to keep (averaged weights, evaluation mode) and its history."""

    model: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    model: nn.Module,
    spec: TrainSpec,
    loader: Loader,
    loss_of: Callable[[nn.Module, Batch], torch.Tensor],
    *,
    seed: int,
    checkpoint: Path,
    identity: Any = None,
    parameters: Callable[[nn.Module], list[dict[str, Any]]] | None = None,
    title: str = "Training",
) -> Trained:
    """Train `model` by `spec`, resuming from `checkpoint` if it is there.

    Args:
        model: a module from uint8 images (N, 3, S, S) to logits.
        spec: the schedule.
        loader: replayable batches.
        loss_of: (model, batch on the model's device) -> scalar loss.
        seed: start of dropout's random numbers.
        checkpoint: file to keep the state of training in; removed by the caller when the result is safe.
        identity: plain data that says what is trained on what; a checkpoint of another one is refused.
        parameters: optimizer parameter groups of the model, with `lr_scale` where it differs from 1.
        title: what the progress bar says.

    Raises:
        InputError: the checkpoint belongs to another run.
        GateError: the loss is not finite.
    """
    where = device()
    model.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = parameters(model) if parameters else weight_decay_groups(model, spec.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay)
    average = ModelEmaV3(model, decay=spec.ema, use_warmup=True) if spec.ema else None
    total = spec.epochs * loader.steps
    key = digest_of([spec.model_dump(exclude={"checkpoint_seconds"}), seed, loader.steps, identity])
    torch.manual_seed(seed)
    step, history = _resume(checkpoint, key, model, average, optimizer)
    autocast = _autocast(spec.precision, where)
    saved = time.monotonic()

    with bar(title, total) as progress:
        progress(step)
        while step < total:
            epoch, start = divmod(step, loader.steps)
            model.train()
            losses = []
            for batch in loader.epoch(epoch, start):
                _schedule(optimizer, spec, step, total)
                batch = Batch(batch.images.to(where), batch.labels.to(where), batch.index, batch.view)
                with autocast:
                    loss = loss_of(model, batch)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if spec.clip:
                    nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
                optimizer.step()
                step += 1
                if average:
                    average.update(model, step)
                losses.append(loss.detach())
                progress(1)
                if time.monotonic() - saved > spec.checkpoint_seconds and step % loader.steps:
                    _save(checkpoint, key, step, history, model, average, optimizer)
                    saved = time.monotonic()
            mean = float(torch.stack(losses).mean())
            if not math.isfinite(mean):
                raise GateError(
                    f"{title}: the loss became {mean} in epoch {epoch + 1}. Lower the learning rate (lr: {spec.lr})."
                )
            history.append({"epoch": epoch + 1, "loss": mean})
            progress(0, f"{title} · epoch {epoch + 1}/{spec.epochs} · loss {mean:.3f}")
            if time.monotonic() - saved > spec.checkpoint_seconds or step == total:
                _save(checkpoint, key, step, history, model, average, optimizer)
                saved = time.monotonic()

    result = average.module if average else model
    return Trained(result.cpu().eval(), history)


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups that leave biases and norms (one-dimensional tensors) without weight decay."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def learning_rate(spec: TrainSpec, step: int, total: int) -> float:
    """Linear warm-up to `spec.lr`, then half a cosine down to zero at the last step."""
    warmup = round(spec.warmup * total)
    if step < warmup:
        return spec.lr * (step + 1) / warmup
    return spec.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _schedule(optimizer: torch.optim.Optimizer, spec: TrainSpec, step: int, total: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(spec, step, total) * group.get("lr_scale", 1.0)


def _autocast(precision: str, where: torch.device) -> Any:
    """bf16 where the hardware computes it natively: training a MobileNet in bf16 on a CPU is slower than fp32."""
    native = where.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bf16" or (precision == "auto" and native):
        return torch.autocast(where.type, torch.bfloat16)
    return nullcontext()


def _save(
    path: Path, key: str, step: int, history: list[dict[str, float]],
    model: nn.Module, average: ModelEmaV3 | None, optimizer: torch.optim.Optimizer,
) -> None:  # fmt: skip
    state = {
        "key": key, "step": step, "history": history, "model": model.state_dict(), "optimizer": optimizer.state_dict(),
        "average": average.module.state_dict() if average else None, "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }  # fmt: skip
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _resume(
    path: Path, key: str, model: nn.Module, average: ModelEmaV3 | None, optimizer: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    if not path.is_file():
        return 0, []
    try:
        state = torch.load(path, map_location=device(), weights_only=True)
    except Exception as error:
        raise InputError(f"{path}: the training checkpoint is damaged ({error}). Remove it to train anew.") from error
    if state["key"] != key:
        raise InputError(
            f"{path}: a training checkpoint of another run (other settings, photos or teacher). "
            "Choose another output folder, or remove the file to train anew."
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if average:
        average.module.load_state_dict(state["average"])
    torch.set_rng_state(state["rng"].cpu())
    if state["cuda_rng"]:
        torch.cuda.set_rng_state_all([rng.cpu() for rng in state["cuda_rng"]])
    return int(state["step"]), list(state["history"])
