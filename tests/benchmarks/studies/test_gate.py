"""What the gate promotes by luck."""

from __future__ import annotations

from scipy.stats import binom

from attar.benchmarks.studies.gate import RULES, histories
from attar.deploy.release.ledger import CHANCE


def test_twenty_rounds_promote_an_equally_good_model_in_at_most_five_histories_of_a_hundred():
    ours, every_round, *_ = RULES.values()
    count = 300
    assert binom.sf(histories(ours, count, seed=1).sum() - 1, count, CHANCE) > 0.001
    assert histories(every_round, count, seed=1).mean() > 2 * CHANCE
