"""What goes wrong in training, found where it happens and explained: numbers that are not finite, and divergence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from attar.data.views import Batch

FIRST = 10
"""Steps whose mean loss counts as the start."""

FAR = 0.5
"""A loss is never far from another if they differ by less than this."""


@dataclass
class LossWatch:
    """Follows a smoothed loss, and says so when training has lost its way for long.

    That is, for `patience` steps in a row the loss is over one and a half times its start; or, after it had fallen
    below half its start, three quarters of the way back up. The state is plain data, so that a resumed run
    sees what it would have seen.
    """

    patience: int
    seen: int = 0
    start: float = 0.0
    smooth: float = 0.0
    best: float = math.inf
    best_step: int = 0
    high: int = 0

    def diverged(self, loss: float) -> str | None:
        """Take in one step's loss; what happened, if it did."""
        self.seen += 1
        weight = 1 / min(self.seen, 2 * FIRST)
        self.smooth += weight * (loss - self.smooth)
        if self.seen <= FIRST:
            self.start = self.smooth
            return None
        if self.smooth < self.best:
            self.best, self.best_step = self.smooth, self.seen
        self.high = self.high + 1 if self.smooth > self._limit() else 0
        if self.high < self.patience:
            return None
        return (
            f"the loss diverged: {self.start:.3g} at the start, {self.best:.3g} at its best (step {self.best_step}), "
            f"{self.smooth:.3g} now, and above {self._limit():.3g} for the last {self.high} steps"
        )

    def _limit(self) -> float:
        limit = self.start + max(FAR, 0.5 * abs(self.start))
        if self.best < 0.5 * self.start:
            limit = min(limit, self.best + max(FAR, 0.75 * (self.start - self.best)))
        return limit

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def explain(model: nn.Module, loss_of: Callable[[nn.Module, Batch], torch.Tensor], batch: Batch) -> tuple[int, str]:
    """Where numbers stopped being finite, looked for in the order in which a step computes them.

    Args:
        model: as it was before the step, with the step's gradients.
        loss_of: the loss.
        batch: of the step.

    Returns:
        How far into a step it was, and where.
    """
    photos = ", ".join(str(i) for i in batch.index[:8].tolist()) + (", ..." if len(batch.index) > 8 else "")
    views = ", ".join(str(view) for view in sorted(set(batch.view.tolist())))
    seen = f"view {views} of photos {photos}"
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return 0, f"the weights {name} are not finite since the step before, which was too large ({seen})"
    if module := _first_overflow(model, loss_of, batch):
        return 1, f"the output of {module} is not finite ({seen})"
    with torch.no_grad():
        if not _finite(loss_of(model, batch)):
            return 2, f"the model's answers are finite, and their loss is not ({seen}): look at labels and teacher"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not _finite(parameter.grad):
            return 3, f"the loss is finite, and its gradient for {name} is not ({seen})"
    return 4, f"computed once more, everything is finite ({seen})"


def _first_overflow(model: nn.Module, loss_of: Callable[[nn.Module, Batch], torch.Tensor], batch: Batch) -> str:
    """Name and type of the first module whose output is not finite."""
    names: list[str] = []

    def hook(name: str) -> Callable[..., None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if not names and isinstance(output, torch.Tensor) and not _finite(output):
                names.append(f"{name or 'the model'} ({type(module).__name__})")

        return look

    hooks = [module.register_forward_hook(hook(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            loss_of(model, batch)
    finally:
        for handle in hooks:
            handle.remove()
    return names[0] if names else ""


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
