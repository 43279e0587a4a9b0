"""Knowledge distillation by soft targets (Hinton, Vinyals and Dean, arXiv 1503.02531, section 2)."""

from __future__ import annotations

import torch
from torch.nn import functional


def kd(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), mean over the batch.

    The factor T² keeps the gradient's size independent of the temperature, so its weight against the
    cross-entropy means the same at every T. `labels` are not used. Computed in float32: a logarithm of a
    half-precision softmax overflows.
    """
    student = functional.log_softmax(student.float() / temperature, dim=1)
    teacher = functional.log_softmax(teacher.float() / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
