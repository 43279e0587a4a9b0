"""A wider head that begins as the same function (Net2WiderNet, Chen et al., arXiv 1511.05641, section 2.2)."""

from __future__ import annotations

import torch

from attar.errors import InputError
from attar.students.create import build
from attar.students.student import Student

_COPIED = ("pointwise.weight", "bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var")


def widened(student: Student, seed: int = 0) -> Student:
    """A student whose DWSConv head has twice the width, and the same logits in evaluation mode.

    Every channel is there twice, and its weights in the classifier are shared out between the copies. In unequal
    shares, drawn from `seed`: copies that are treated alike would get the same gradients and stay copies.

    Raises:
        InputError: the student has another head.
    """
    if student.architecture["head"] != "dwsconv":
        raise InputError(f"student {student.architecture['name']}: only a dwsconv head can be widened.")
    wide = build({**student.architecture, "head_width": 2 * student.architecture["head_width"]})
    state = dict(student.state_dict())
    for name in (f"network.head.{part}" for part in _COPIED):
        state[name] = torch.cat([state[name], state[name]])
    weight = state["network.head.classifier.weight"]
    share = 0.25 + 0.5 * torch.rand(weight.shape[1], generator=torch.Generator().manual_seed(seed))
    state["network.head.classifier.weight"] = torch.cat([share * weight, (1 - share) * weight], dim=1)
    wide.load_state_dict(state)
    return wide.eval()
