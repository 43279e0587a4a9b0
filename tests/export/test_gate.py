"""What a file may lose: many photos are taken at their word, few only where it cannot be chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attar.errors import GateError
from attar.export.formats import FORMATS
from attar.export.verify import Reference, _gate, measure

LIMITS = {**FORMATS["litert"].precisions, **FORMATS["coreml"].precisions}


def measured(images: int, lost: int, won: int = 0, sure: float = 0.9) -> dict[str, Any]:
    """A student that is right on all photos but `won`, and a file that differs on `lost` and `won` of them."""
    labels = np.zeros(images, dtype=int)
    labels[:won] = 1
    student = np.tile([sure, 1 - sure], (images, 1)).astype(np.float32)
    file = student.copy()
    file[:won] = file[:won, ::-1]
    file[won : won + lost] = file[won : won + lost, ::-1]
    bundle: Any = None
    return measure(file, Reference(bundle, np.zeros((images, 1, 1, 3), np.uint8), labels, student))


def test_one_of_twelve_photos_is_no_eight_points() -> None:
    measurement = measured(12, 1, sure=0.52)
    assert (measurement["lost"], measurement["won"], measurement["images"]) == (1, 0, 12)
    assert measurement["student_top1"] - measurement["top1"] == pytest.approx(1 / 12)
    remark = _gate(measurement, LIMITS["int8"], 1.0)
    assert "1 of 12 photos" in remark and "too few photos to tell 1 point(s)" in remark


def test_a_clear_photo_of_few_is_doubt_and_not_proof() -> None:
    assert "1 of 12 clear photos" in _gate(measured(12, 1, sure=0.7), LIMITS["int8"], 1.0)


@pytest.mark.parametrize(
    ("images", "lost", "won", "refused"),
    [
        (12, 0, 0, False),
        (12, 2, 0, False),
        (12, 5, 0, True),
        (12, 12, 0, True),
        (40, 3, 2, False),
        (40, 9, 0, True),
        (200, 3, 0, False),
        (200, 12, 0, True),
        (1000, 10, 0, False),
        (1000, 11, 0, True),
        (1000, 15, 4, True),
    ],
)
def test_the_loss_of_top1(images: int, lost: int, won: int, refused: bool) -> None:
    measurement = measured(images, lost, won, sure=0.52)  # no photo is clear, and probabilities are hardly off
    if refused:
        with pytest.raises(GateError, match="points of top-1"):
            _gate(measurement, LIMITS["int8"], 1.0)
    else:
        _gate(measurement, LIMITS["int8"], 1.0)


def test_who_allows_no_loss_gets_none() -> None:
    with pytest.raises(GateError, match="limit 0"):
        _gate(measured(12, 1, sure=0.52), LIMITS["int8"], 0.0)


def test_a_float_file_may_differ_on_no_clear_photo() -> None:
    with pytest.raises(GateError, match="clear photos"):
        _gate(measured(12, 1), LIMITS["fp32"], 100.0)


@pytest.mark.parametrize("precision", list(LIMITS))
def test_a_file_that_is_another_model_is_refused_by_twelve_photos(precision: str) -> None:
    with pytest.raises(GateError):
        _gate(measured(12, 6), LIMITS[precision], 1.0)


def test_a_good_file_of_few_photos_is_seldom_refused() -> None:
    """A file that keeps the limits, by simulation."""
    rng, refused = np.random.default_rng(0), 0
    for _ in range(400):
        flips = rng.random(30) < 0.01
        try:
            _gate(measured(30, int(flips.sum()), sure=0.52), LIMITS["int8"], 1.0)
        except GateError:
            refused += 1
    assert refused / 400 < 0.05
