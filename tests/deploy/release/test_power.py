"""How many photos it takes, against draws and against an approximation of others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from attar.deploy.release.power import images_needed, power
from attar.errors import InputError


@pytest.mark.parametrize(("images", "gain", "differing"), [(300, 0.05, 0.1), (1000, 0.02, 0.06), (80, 0.1, 0.1)])
def test_power_is_how_often_drawn_models_are_found_better(images, gain, differing):
    level, draw = 0.01, np.random.default_rng(0)
    cells = [(differing + gain) / 2, (differing - gain) / 2, 1 - differing]
    seen = []
    for won, lost, _ in draw.multinomial(images, cells, size=2000):
        found = binomtest(int(won), int(won + lost), alternative="greater") if won + lost else None
        seen.append(found is not None and found.pvalue <= level)
    error = 4 * np.sqrt(0.25 / len(seen))
    assert power(images, gain, differing, level) == pytest.approx(np.mean(seen), abs=error)


def test_without_a_gain_power_is_at_most_the_level():
    for images in (10, 100, 1000):
        assert power(images, 0.0, 0.1, 0.0025) <= 0.0025


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(0.01, 0.1), st.floats(1.5, 4.0), st.sampled_from([0.05, 0.0025]))
def test_as_many_photos_as_are_needed_are_enough_and_not_many_more(gain, times, level):
    differing = min(1.0, gain * times)
    needed = images_needed(gain, differing, level)
    assert power(needed, gain, differing, level) >= 0.8
    assert power(int(0.9 * needed) - 2, gain, differing, level) < 0.8
    # Connor, Biometrics 43, 1987, for the test without the exact one's steps, which cost more photos.
    reach = norm.isf(level) * np.sqrt(differing) + norm.isf(0.2) * np.sqrt(differing - gain**2)
    assert needed >= 0.85 * (reach / gain) ** 2
    assert needed <= 1.4 * (reach / gain) ** 2 + 20


@pytest.mark.parametrize(("gain", "differing"), [(0.0, 0.1), (-0.02, 0.1), (0.2, 0.1), (0.5, 1.1)])
def test_no_gain_is_refused(gain, differing):
    with pytest.raises(InputError, match="points"):
        images_needed(gain, differing, 0.05)
