"""The distillation loss against an independent formula, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attar.errors import InputError
from distill.losses import loss_named
from distill.losses.kd import kd

STUDENT = torch.tensor([[1.0, -0.5, 0.25], [0.0, 2.0, -1.0]], dtype=torch.float64)
TEACHER = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


@pytest.mark.parametrize("temperature", [1.0, 3.0, 10.0])
def test_value_against_numpy(temperature: float) -> None:
    def probabilities(logits: torch.Tensor) -> np.ndarray:
        e = np.exp(logits.numpy() / temperature)
        return e / e.sum(1, keepdims=True)

    p, q = probabilities(TEACHER), probabilities(STUDENT)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert float(kd(STUDENT, TEACHER, LABELS, temperature)) == pytest.approx(expected, rel=1e-6)


def test_gradient_is_that_of_the_formula() -> None:
    student = STUDENT.float().requires_grad_()
    kd(student, TEACHER.float(), LABELS, 3.0).backward()
    p, q = torch.softmax(TEACHER / 3, 1), torch.softmax(STUDENT / 3, 1)
    assert torch.allclose(student.grad.double(), 3.0 * (q - p) / len(p), atol=1e-6)


def test_zero_when_student_is_the_teacher_and_finite_at_extremes() -> None:
    assert float(kd(TEACHER, TEACHER, LABELS, 4.0)) == pytest.approx(0, abs=1e-6)
    far = torch.tensor([[300.0, -300.0]]).half()
    assert torch.isfinite(kd(far, -far, LABELS[:1], 1.0))


def test_an_unknown_loss_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="kd"):
        loss_named("kdd")
