"""The study of promises on a world whose temperature is known: halves are calibrated, and promises hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from attar.benchmarks.studies.confidence import HEAD, cells, halved


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_halves_of_a_known_world(temperature: float) -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(1200, 6)) * rng.uniform(1, 12, (1200, 1))
    labels = (softmax(honest, 1).cumsum(1) > rng.random((1200, 1))).argmax(1)
    halves = [halved(softmax(temperature * honest, 1), labels, seed) for seed in range(10)]
    after, chance = (np.mean([getattr(half, name) for half in halves]) for name in ("after", "chance"))
    assert after < chance + 0.02 and (np.mean([half.before for half in halves]) > 0.06) == (temperature == 2)
    found = dict(zip(HEAD[2:], cells(halves)))
    assert float(found["sets hold"].rstrip("%")) > 88 and float(found["of these right"].rstrip("%")) > 94
    assert int(found["splits at 95%"].split()[0]) >= 8 and int(found["splits at 90%"].split()[0]) >= 7
