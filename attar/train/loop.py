"""The training loop, read from top to bottom; teachers are fitted and students distilled by it.

AdamW, cosine schedule with linear warm-up (arXiv 1608.03983 without restarts), an exponential moving
average of the weights, gradient clipping. What makes a loss is the caller's: a function of (model,
batch).

A run can be killed at any moment and ends, when started again, in the same weights bit for bit on a
CPU: the order of photos and their views are pure functions of the seed, and a checkpoint holds
everything else (weights, average, optimizer, random state, position). The weights returned are those
of the last step, never the best on the validation photos: those are what the results are reported on.
Who wants the best all the same (`select: best`) gets figures that flatter it, and the bundle says so.

The model that is kept, and each one that `select: best` looks at, first gets new batch-norm statistics
(`attar.train.batchnorm`): after few steps the moving ones say little.

Under torchrun the ranks share each batch out (`attar.train.distributed`, `attar.train.strategies`): `batch_size` counts
the photos of all, so a recipe means the same training on any number of ranks, up to the order of sums. Dropout draws
other numbers in each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import nn

from attar import interrupts
from attar.console import bar
from attar.data.views import Batch
from attar.errors import GateError
from attar.files import digest_of
from attar.inference import torch_device
from attar.recipe import TrainSpec
from attar.train import batchnorm, distributed, small_maps, strided_conv
from attar.train.checkpoints import Checkpoints
from attar.train.divergence import LossWatch, explain
from attar.train.loggers import EVERY, log_to
from attar.train.memory import keep_freed
from attar.train.prefetch import on_device
from attar.train.readings import Reading, Readings
from attar.train.strategies import SingleProcess, strategy_for

Objective = Callable[[nn.Module, Batch], torch.Tensor]
Spec = TypeVar("Spec", bound=TrainSpec)


class Loader(Protocol):
    """What the loop needs of `attar.data.views.ViewLoader`."""

    batch_size: int
    """Photos in a batch, of all ranks together."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """This rank's share of the batches of one epoch, from step `start` on."""


@dataclass
class Trained:
    """What training gives back: the model to keep (averaged weights, evaluation mode) and its history."""

    model: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    model: nn.Module,
    spec: TrainSpec,
    loader: Loader,
    loss_of: Objective,
    *,
    seed: int,
    checkpoint: Path,
    identity: Any = None,
    parameters: Callable[[nn.Module], list[dict[str, Any]]] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    remeasure: Callable[[nn.Module], None] | None = None,
    title: str = "Training",
) -> Trained:
    """Train `model` by `spec`, resuming from `checkpoint` if it is there.

    Args:
        model: a module from uint8 images (N, 3, S, S) to logits.
        spec: the schedule.
        loader: replayable batches.
        loss_of: (model, batch on the model's device) -> scalar loss, mean over the batch.
        seed: start of dropout's random numbers.
        checkpoint: file to keep the state of training in (`attar.train.checkpoints`); discarded by the caller when the
            result is safe.
        identity: plain data that says what is trained on what; a checkpoint of another one is refused.
        parameters: optimizer parameter groups of the model, with `lr_scale` where it differs from 1.
        validate: model -> accuracy in [0, 1]; asked by `select: best` after every epoch, in the first rank.
        remeasure: gives a model new batch-norm statistics (`attar.train.batchnorm.remeasurer`), in the first rank; None
            keeps the moving ones.
        title: what the progress bar says.

    Returns:
        In the first rank the trained model; with `shard`, the other ranks' is not trained.

    Raises:
        InputError: the checkpoint belongs to another run; a batch that the ranks cannot share out evenly.
        GateError: a loss or gradient is not finite, or the loss diverged.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    keep_freed()
    strategy = strategy_for(spec, loader.batch_size)
    strided_conv.guard(model)
    small_maps.quicken(model)
    average = ModelEmaV3(model, decay=spec.ema, use_warmup=True) if spec.ema else None
    if average:
        average.module = strategy.prepare_average(average.module)
    model = strategy.prepare(model)
    groups = (
        parameters(model)
        if parameters
        else param_groups_weight_decay(model, spec.weight_decay, no_weight_decay_list=undecayed(model))
    )
    where = torch_device()
    late = reads_late(where)
    fused = where.type != "mps" and not spec.shard
    optimizer = torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=fused)
    total = spec.epochs * loader.steps
    settings = spec.model_dump(exclude={"checkpoint_seconds", "keep", "log", "compile_teacher"})
    key = digest_of([5, settings, seed, loader.steps, identity])
    run = _Run(model, average, optimizer, strategy, LossWatch(patience=max(100, total // 20)), readings=Readings(late))
    run.resume(Checkpoints(checkpoint, key, spec.keep), seed)
    logs = checkpoint.with_name(checkpoint.name.removesuffix(".training.pt") + ".logs")
    saved = time.monotonic()
    due = stop = 0.0

    with (
        bar(title, total) as progress,
        log_to(spec.log, logs, title, spec.model_dump(), run.step) as log,
        interrupts.noted() as interrupt,
    ):

        def take(everything: bool = False) -> None:
            """Look at the numbers of steps that are done."""
            nonlocal due, stop
            for found in run.readings.read(everything):
                overdue = distributed.is_first() and time.monotonic() - saved > spec.checkpoint_seconds
                loss, due, stop = strategy.mean(found.loss, float(overdue), float(interrupt.came))
                if not (math.isfinite(loss) and math.isfinite(found.norm)):
                    raise GateError(_not_finite(run, spec, loss_of, found, title, checkpoint))
                run.losses.append(loss)
                progress(1)
                if problem := run.watch.diverged(loss):
                    raise GateError(f"{title}, step {found.step}: {problem}. {_remedy(spec, checkpoint)}")
                if found.step % EVERY == 0:
                    lr = learning_rate(spec, found.step - 1, total)
                    log(found.step, {"loss": loss, "gradient_norm": found.norm, "lr": lr})

        progress(run.step)
        while run.step < total:
            epoch, start = divmod(run.step, loader.steps)
            model.train()
            for batch in on_device(loader.epoch(epoch, start), where):
                _schedule(optimizer, spec, run.step, total)
                values = _gradients(run, spec, loss_of, batch)
                run.readings.add(run.step + 1, batch, values)
                if late:
                    run.skip_from_now_on_unless_finite(values)
                take()
                optimizer.step()
                run.step += 1
                if average:
                    average.update(model, run.step)
                if (due or stop) and run.step % loader.steps:
                    take(everything=True)
                    run.save()
                    saved = time.monotonic()
                    if stop:
                        interrupt.take_effect()
            take(everything=True)
            entry = run.end_epoch(epoch + 1, spec.select == "best", validate, remeasure)
            log(run.step, {f"epoch/{name}": value for name, value in entry.items() if name != "epoch"})
            progress(0, f"{title} · epoch {epoch + 1}/{spec.epochs} · loss {entry['loss']:.3f}")
            if due or stop or run.step == total:
                run.save()
                saved = time.monotonic()
                if stop:
                    interrupt.take_effect()

    return Trained(run.result(remeasure).cpu().eval(), run.history)


def reads_late(where: torch.device) -> bool:
    """Whether a step's loss is read when the next one is under way. Ranks agree at every step, so they wait anyway."""
    return where.type == "cuda" and distributed.count() == 1


def scheduled(spec: Spec, steps: int) -> Spec:
    """The same schedule with as many epochs of `steps` steps as `min_steps` asks for, and at least its own."""
    epochs = max(spec.epochs, -(-spec.min_steps // steps))
    return spec.model_copy(update={"epochs": epochs, "min_steps": 0})


def undecayed(model: nn.Module) -> set[str]:
    """Names of the parameters that timm's models, `model` itself or inside it, want without weight decay.

    These are position embeddings, class and register tokens, tables of relative position biases.
    """
    names = set()
    for place, module in model.named_modules():
        if hasattr(module, "no_weight_decay"):
            names |= {f"{place}.{name}" if place else name for name in module.no_weight_decay()}
    return names


def learning_rate(spec: TrainSpec, step: int, total: int) -> float:
    """Linear warm-up to `spec.lr`, then half a cosine down, which would reach zero one step after the last."""
    warmup = round(spec.warmup * total)
    if step < warmup:
        return spec.lr * (step + 1) / warmup
    return spec.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


@dataclass
class _Run:
    """Everything of a training that changes, which is what a checkpoint holds."""

    model: nn.Module
    average: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    strategy: SingleProcess
    watch: LossWatch
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Of this epoch's steps so far."""
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    """Accuracy and weights of the best epoch, if asked for."""
    readings: Readings = field(default_factory=lambda: Readings(late=False))

    def resume(self, checkpoints: Checkpoints, seed: int) -> None:
        """Start, or continue from the newest checkpoint."""
        self._checkpoints = checkpoints
        torch.manual_seed(_seed_of_rank(seed, 0))
        state = checkpoints.newest()
        distributed.agree({"the training checkpoint (its step)": state["step"] if state else None})
        if state is None:
            return
        self.strategy.load(self.model, self.optimizer, (state["model"], state["optimizer"]))
        if self.average:
            self.strategy.load_average(self.average.module, state["average"])
        self.step, self.losses, self.history = state["step"], state["losses"], state["history"]
        self.watch, self.best = LossWatch(**state["watch"]), state["best"]
        if len(state["random"]) == distributed.count():
            _set_random(state["random"][distributed.rank()])
        else:  # another number of ranks than before
            torch.manual_seed(_seed_of_rank(seed, self.step))

    def skip_from_now_on_unless_finite(self, values: torch.Tensor) -> None:
        """Leave the weights alone in this step and all later ones if its loss or norm, float (2,), is not finite.

        The GPU decides: the numbers are read when the next step is under way, and the weights are then still those that
        the step began with, to be explained. torch's fused optimizers take this flag for its gradient scaler.
        """
        optimizer: Any = self.optimizer
        bad = (~torch.isfinite(values)).any().float()
        optimizer.found_inf = torch.maximum(bad, optimizer.found_inf) if hasattr(optimizer, "found_inf") else bad

    def save(self) -> None:
        """Write a checkpoint; every rank calls, the first one writes."""
        model, optimizer = self.strategy.state(self.model, self.optimizer)
        average = self.strategy.average_state(self.average.module) if self.average else None
        random = distributed.exchange(_get_random())
        with distributed.first_alone() as writes:
            if writes:
                self._checkpoints.save(
                    {
                        "step": self.step,
                        "losses": self.losses,
                        "history": self.history,
                        "watch": self.watch.to_json(),
                        "best": self.best,
                        "model": model,
                        "optimizer": optimizer,
                        "average": average,
                        "random": random,
                    }
                )

    def end_epoch(
        self,
        epoch: int,
        select: bool,
        validate: Callable[[nn.Module], float] | None,
        remeasure: Callable[[nn.Module], None] | None,
    ) -> dict[str, float]:
        """Close an epoch's books: its entry in the history."""
        entry: dict[str, float] = {"epoch": epoch, "loss": sum(self.losses) / len(self.losses)}
        if select:
            model = self.average.module if self.average else self.model
            with batchnorm.kept(model):  # training goes on with the statistics that it had
                if remeasure:
                    remeasure(model)
                entry["top1"] = distributed.exchange(validate(model) if validate else None)[0]
                if self.best is None or entry["top1"] > self.best["top1"]:
                    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
                    self.best = {"epoch": epoch, "top1": entry["top1"], "weights": weights}
        self.history.append(entry)
        self.losses = []
        return entry

    def result(self, remeasure: Callable[[nn.Module], None] | None) -> nn.Module:
        """The model to keep."""
        result = self.strategy.unshard(self.average.module if self.average else self.model)
        if self.best:  # with the statistics that it was evaluated with
            result.load_state_dict(self.best["weights"])
        elif remeasure:
            remeasure(result)
        return result


def _gradients(run: _Run, spec: TrainSpec, loss_of: Objective, batch: Batch) -> torch.Tensor:
    """Fill the gradients from this rank's share of a batch, clipped.

    Returns:
        Its loss and the gradients' norm before clipping, float32 (2,), on the device.
    """
    run.optimizer.zero_grad(set_to_none=True)
    losses = []
    parts = batch.split(spec.accumulate)
    for number, part in enumerate(parts, start=1):
        with run.strategy.no_sync(last=number == len(parts)):
            with _autocast(spec.precision, part.images.device):
                loss = run.strategy.loss(lambda part=part: loss_of(run.model, part) / len(parts))  # type: ignore[misc]
            run.strategy.backward(loss)
        losses.append(loss.detach().float())
    norm = nn.utils.get_total_norm([p.grad for p in run.model.parameters() if p.grad is not None])
    if spec.clip:  # if it is not finite, the gradients stay as they are, to be explained
        finite = torch.where(torch.isfinite(norm), norm, torch.zeros_like(norm))
        nn.utils.clip_grads_with_norm_(run.model.parameters(), spec.clip, finite)
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return torch.stack([torch.stack(losses).sum(), norm.float()])


def _not_finite(run: _Run, spec: TrainSpec, loss_of: Objective, found: Reading, title: str, checkpoint: Path) -> str:
    """What to tell of a step whose loss or gradient is not finite; the same in every rank."""
    own = (9, "a sharded model is not looked into")  # its forward pass would need every rank to come along
    if run.readings.late:  # since then, the gradients of another step took their place
        _gradients(run, spec, loss_of, found.batch)
    if not spec.shard:
        with _autocast(spec.precision, found.batch.images.device):
            own = explain(run.model, loss_of, found.batch)
    reports = distributed.exchange(own)
    (_, text), number = min((report, number) for number, report in enumerate(reports))
    at = f", at rank {number}" if len(reports) > 1 else ""
    what = f"{title}, step {found.step}{at}: the loss or a gradient became infinite or NaN: {text}"
    return f"{what}. {_remedy(spec, checkpoint)}"


def _remedy(spec: TrainSpec, checkpoint: Path) -> str:
    ways = [f"lower lr (now {spec.lr:g})", f"a longer warmup (now {spec.warmup:g} of all steps)"]
    if not spec.clip:
        ways.append("clip: 1.0 (now off)")
    if _computes_bf16(spec.precision, torch_device()):
        ways.append("precision: fp32 (now bf16)")
    return f"Try, in this order: {'; '.join(ways)}; with another --output, or after removing {checkpoint}*."


def _schedule(optimizer: torch.optim.Optimizer, spec: TrainSpec, step: int, total: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(spec, step, total) * group.get("lr_scale", 1.0)


def _autocast(precision: str, where: torch.device) -> Any:
    return torch.autocast(where.type, torch.bfloat16) if _computes_bf16(precision, where) else nullcontext()


def _computes_bf16(precision: str, where: torch.device) -> bool:
    """bf16 where the hardware computes it natively: training a MobileNet in bf16 on a CPU is slower than fp32."""
    native = where.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16" or (precision == "auto" and native)


def _seed_of_rank(seed: int, step: int) -> int:
    """Dropout's seed; every rank draws other numbers, and the first in a fresh run those of a single process."""
    if distributed.is_first() and not step:
        return seed
    return int(digest_of([seed, distributed.rank(), step])[:12], 16)


def _get_random() -> list[torch.Tensor]:
    """State of the random numbers: the CPU's, then the GPU's if there is one."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _set_random(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if torch.cuda.is_available() and len(states) > 1:
        torch.cuda.set_rng_state(states[1])
