"""Tango's test, against the likelihood that it is derived from, and by counting what it does wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

from attar.deploy.release.paired import interval, not_worse, statistic

LEVEL = 0.0025


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(130, 2000), st.floats(-0.3, 0.3))
def test_the_statistic_is_the_score_at_the_likeliest_shares(won, lost, images, gain):
    def unlikely(share: float) -> float:
        both = images - won - lost
        return -(won * np.log(share + gain) + lost * np.log(share) + both * np.log(1 - 2 * share - gain))

    least, most = max(0.0, -gain) + 1e-12, (1 - gain) / 2 - 1e-12
    share = minimize_scalar(unlikely, bounds=(least, most), method="bounded", options={"xatol": 1e-13}).x
    error = np.sqrt(images * (2 * share + gain * (1 - gain)))
    assert statistic(won, lost, images, gain) == pytest.approx((won - lost - images * gain) / error, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("images", [200, 1000])
@pytest.mark.parametrize("margin", [0.01, 0.02])
@pytest.mark.parametrize("won", [0.0, 0.01, 0.03])
def test_a_model_that_loses_as_much_as_the_margin_passes_no_oftener_than_the_level(images, margin, won):
    """All tables of won and lost photos, each with its chance."""
    lost, wrongly = won + margin, 0.0
    for lost_photos in range(int(binom.isf(1e-9, images, lost)) + 1):
        others = images - lost_photos
        most = int(binom.isf(1e-9, others, won / (1 - lost))) if won else 0
        for won_photos in range(most + 1):
            if not_worse(won_photos, lost_photos, images, margin) <= LEVEL:
                chance = binom.pmf(lost_photos, images, lost) * binom.pmf(won_photos, others, won / (1 - lost))
                wrongly += chance
    assert wrongly <= LEVEL


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(80, 3000), st.sampled_from([0.95, 0.995]))
def test_the_interval_is_what_the_test_does_not_refuse(won, lost, images, confidence):
    low, high = interval(won, lost, images, confidence)
    assert -1 <= low <= (won - lost) / images <= high <= 1
    reach = norm.ppf((1 + confidence) / 2)
    for end in (low, high):
        if -1 < end < 1:
            assert abs(statistic(won, lost, images, end)) == pytest.approx(reach, rel=1e-3)
    mirrored = interval(lost, won, images, confidence)
    assert (-mirrored[1], -mirrored[0]) == pytest.approx((low, high), abs=1e-6)


def test_few_photos_exclude_little():
    low, high = interval(2, 0, 2, 0.95)
    assert low < 0.3 and high == 1.0
    assert interval(0, 0, 1, 0.995)[0] < -0.5
