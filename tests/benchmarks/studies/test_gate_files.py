"""What the gate lets through by luck where one of several files shows the gain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from attar.benchmarks.studies.gate_files import DIFFERING, GAINS, OTHERWISE, PHOTOS, RULES, TOP1, drawn, ships

LEVEL, COUNT = 0.05, 4000
EACH, PRIMARY = RULES.values()


@pytest.mark.parametrize("gains", [(0.0, 0.0), (0.0, 0.05), (0.05, -PRIMARY[0].margin)])
def test_a_run_with_one_file_that_is_not_as_it_has_to_be_ships_no_oftener_than_the_level(
    gains: tuple[float, float],
) -> None:
    """The first is the primary one. Of files that share nothing but photos, the other one hinders least."""
    # A file shows a bit less of its student's gain.
    kept = 1 - OTHERWISE / 2 / TOP1 - OTHERWISE / 2 / (1 - TOP1)
    each = [drawn(gain / kept, 1, COUNT, seed) for seed, gain in enumerate(gains)]
    won, lost = (np.concatenate([counts[i] for counts in each]) for i in (0, 1))
    wrongly = ships(won, lost, *PRIMARY, LEVEL).sum()
    assert binom.sf(wrongly - 1, COUNT, LEVEL) > 0.001
    assert wrongly > COUNT * LEVEL / 3, "the test could not fail"


def test_files_are_as_near_to_their_students_as_is_said() -> None:
    won, lost = drawn(0.02, 2, COUNT)
    assert np.abs((won - lost).mean(1) / PHOTOS - 0.019).max() < 0.001
    # Of what differs, the students' part is the same for both files, and each file's own part is not.
    shared = DIFFERING / (DIFFERING + 2 * OTHERWISE)
    assert np.corrcoef(won - lost)[0, 1] == pytest.approx(shared, abs=0.03)


def test_the_primary_file_alone_decides_about_a_gain_that_all_have() -> None:
    won, lost = drawn(GAINS["two points better"], 4, COUNT)
    alone = ships(won[:1], lost[:1], *EACH, 0.0025).mean()
    assert ships(won, lost, *EACH, 0.0025).mean() < alone - 0.1
    assert ships(won, lost, *PRIMARY, 0.0025).mean() > alone - 0.01
