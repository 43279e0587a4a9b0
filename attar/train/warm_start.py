"""Beginning a model with the weights of an earlier one, whose classes may have been fewer or others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attar.bundle import Bundle
from attar.errors import InputError


def warm_start(model: nn.Module, network: Any, labels: Sequence[str], bundle: Bundle) -> None:
    """Put a bundle's weights into a model, in place.

    The classifier keeps the rows of the classes that both know, by name; rows of new classes stay as they were made,
    and those of classes that are gone are left out.

    Args:
        model: what is filled; it holds `network`.
        network: a module with timm's `get_classifier`.
        labels: the model's classes, in order.
        bundle: the earlier model.

    Raises:
        InputError: the earlier model has another architecture.
    """
    classifier = network.get_classifier()
    inside = next((name for name, module in model.named_modules() if module is classifier), None)
    state = model.state_dict()
    # A familiarity is of the weights that it was fitted to, so the new student gets its own, if any.
    weights = {name: value for name, value in bundle.state_dict().items() if not name.startswith("familiarity.")}
    row = {label: number for number, label in enumerate(bundle.labels)}
    pairs = [(number, row[label]) for number, label in enumerate(labels) if label in row]
    for name, new in state.items():
        old = weights.pop(name, None)
        ours = inside is not None and name.startswith(f"{inside}.")
        if old is None or (old.shape[1:] != new.shape[1:] if ours else old.shape != new.shape):
            raise _other(bundle, name)
        state[name] = _rows(new, old, pairs) if ours and old.ndim else old
    if weights:
        raise _other(bundle, next(iter(weights)))
    model.load_state_dict(state)


def _rows(new: Tensor, old: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    filled = new.clone()
    to, of = (torch.tensor(each, dtype=torch.long) for each in (zip(*pairs) if pairs else ((), ())))
    filled[to] = old[of].to(filled.dtype)
    return filled


def _other(bundle: Bundle, name: str) -> InputError:
    return InputError(
        f"{bundle.path}: another architecture than the recipe's (it differs in {name}), so its weights cannot be gone "
        "on from. Give the recipe of that run, or start anew without --continue-from."
    )


def about(bundle: Bundle) -> Mapping[str, str]:
    """What a model's provenance says of the one that it goes on from."""
    return {"name": bundle.name, "path": str(bundle.path.resolve()), "fingerprint": bundle.fingerprint}
