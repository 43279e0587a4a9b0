"""Scores of familiarity by name. A new one is a file here and a line below."""

from __future__ import annotations

from attar.students.familiarity.energy import Energy
from attar.students.familiarity.gen import Gen
from attar.students.familiarity.mahalanobis import Mahalanobis, RelativeMahalanobis
from attar.students.familiarity.maxlogit import MaxLogit
from attar.students.familiarity.probability import MaxProbability
from attar.students.familiarity.score import Score
from attar.students.familiarity.vim import Vim

SCORES: dict[str, type[Score]] = {
    "probability": MaxProbability,
    "gen": Gen,
    "energy": Energy,
    "maxlogit": MaxLogit,
    "mahalanobis": Mahalanobis,
    "relative": RelativeMahalanobis,
    "vim": Vim,
}
"""Name -> score."""

DEFAULT = "relative"
"""What `default` means: it tells classes that were held out best (`attar.benchmarks.studies.familiarity`)."""


def score_name(name: str) -> str:
    """The name of a score: itself, or of the default one."""
    return DEFAULT if name == "default" else name
