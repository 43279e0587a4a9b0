"""A temperature in the classifier's weights. Every family's is tried in test_any_student.py."""

from __future__ import annotations

import torch
from torch import nn

from attar.students import create_student, divide_logits


def test_no_answer_changes() -> None:
    torch.manual_seed(0)
    student = create_student("mobilenetv3_small_050", 50, head_width=32).eval()
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        before = student(images)
        assert divide_logits(student, 0.37, 32)
        after = student(images)
    assert torch.equal(before.argmax(1), after.argmax(1)) and not student.training
    assert torch.allclose(after, before / 0.37, rtol=1e-4, atol=1e-6)


def test_a_classifier_that_is_not_linear_is_left_as_it_is() -> None:
    student = create_student("mobilenetv3_small_050", 5, head="stock")
    network = student.network
    nn.init.normal_(network.classifier.weight)  # logits so small that tanh would be linear  # type: ignore[union-attr]
    network.classifier = nn.Sequential(network.classifier, nn.Tanh())  # type: ignore[union-attr]
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert not divide_logits(student, 2.0, 32)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert student.training
