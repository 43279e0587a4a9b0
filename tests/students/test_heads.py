"""Heads by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from attar.errors import InputError
from attar.preprocessing import Preprocessing
from attar.students import create_student, load, save
from attar.students.heads import HEADS, check_head
from attar.students.pooled import LowRankHead, PooledHead

OWN = ("dwsconv", "pooled", "lowrank")


@pytest.mark.parametrize("name", [*OWN, "stock"])
def test_our_own(name: str) -> None:
    check_head(name)
    assert create_student("mobilenetv3_small_050", 3, head=name, head_width=8).architecture["head"] == name


def test_a_name_that_is_none_is_met_with_the_nearest() -> None:
    for ask in (check_head, lambda name: create_student("mobilenetv3_small_050", 3, head=name)):
        with pytest.raises(
            InputError, match=r"student.head: 'dwscon' is no head \(dwsconv, pooled, lowrank, stock\).*dwsconv"
        ):
            ask("dwscon")


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("kernel", [1, 5])
def test_a_head_has_the_width_and_kernel_that_are_asked_for(name: str, kernel: int, tmp_path: Path) -> None:
    student = create_student("mobilenetv3_small_050", 3, head=name, head_width=8, head_options={"kernel_size": kernel})
    head = student.eval().network.head
    assert head.depthwise.kernel_size == (kernel, kernel) and head.classifier.in_features == 8
    images = torch.rand(2, 3, 64, 64)
    saved = save(student, tmp_path / "student", labels=("a", "b", "c"), preprocessing=Preprocessing(64))
    torch.testing.assert_close(load(saved)(images), student(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", OWN)
def test_the_classifier_sees_what_is_pooled(name: str) -> None:
    head = HEADS[name](6, 4, width=5).eval()
    features = torch.randn(3, 6, 7, 7)
    assert head.pooled(features).shape == (3, 5)
    torch.testing.assert_close(head.classifier(head.pooled(features)), head(features))


def test_a_linear_layer_after_the_pool_is_the_same_as_before_it() -> None:
    """What makes `lowrank` cheap: without a nonlinearity between them, the two can change places."""
    head, features = LowRankHead(6, 4, width=5).eval(), torch.randn(3, 6, 7, 7)
    positions = torch.relu(head.bn1(head.depthwise(features))).flatten(2).mT
    torch.testing.assert_close(head.pooled(features), head.reduce(positions).mean(1))


def test_a_low_rank_head_is_a_classifier_of_that_rank() -> None:
    head = LowRankHead(16, 12, width=4)
    assert torch.linalg.matrix_rank(head.classifier.weight @ head.reduce.weight) == 4
    assert any(isinstance(each, torch.nn.ReLU) for each in PooledHead(16, 12, width=4).modules())


@pytest.mark.parametrize(
    ("head", "options", "text"),
    [
        ("dwsconv", {"kernel": 5}, "dwsconv has no option 'kernel'. It takes kernel_size. Did you mean"),
        ("stock", {"kernel_size": 5}, "stock has no option 'kernel_size'. It takes none."),
        ("dwsconv", {"width": 5}, "dwsconv has no option 'width'"),
        ("dwsconv", {"kernel_size": 4}, "dwsconv does not take {'kernel_size': 4}: kernel_size 4 is not odd"),
        ("lowrank", {"kernel_size": "three"}, "lowrank does not take {'kernel_size': 'three'}"),
    ],
)
def test_options_that_a_head_does_not_take(head: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        create_student("mobilenetv3_small_050", 3, head=head, head_options=options)
    assert text in str(caught.value)
