"""Heads by name."""

from __future__ import annotations

import pytest

from attar.errors import InputError
from attar.students import create_student
from attar.students.heads import check_head


@pytest.mark.parametrize("name", ["dwsconv", "stock"])
def test_our_own(name: str) -> None:
    check_head(name)
    assert create_student("mobilenetv3_small_050", 3, head=name, head_width=8).architecture["head"] == name


def test_a_name_that_is_none_is_met_with_the_nearest() -> None:
    for ask in (check_head, lambda name: create_student("mobilenetv3_small_050", 3, head=name)):
        with pytest.raises(InputError, match=r"student.head: 'dwscon' is no head \(dwsconv, stock\).*dwsconv"):
            ask("dwscon")
