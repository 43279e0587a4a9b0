"""Is it one of mine? Scores by name: how much a photo is like those that a student knows, from what it computes anyway.

A new one is a file here and a line below. Each is held against `pytorch-ood`, and all against outliers that are real:
`python -m attar.benchmarks.studies.outliers`.
"""

from __future__ import annotations

from attar.students.familiarity.energy import Energy
from attar.students.familiarity.gen import Gen
from attar.students.familiarity.mahalanobis import Mahalanobis, RelativeMahalanobis
from attar.students.familiarity.maxlogit import MaxLogit
from attar.students.familiarity.probability import MaxProbability
from attar.students.familiarity.score import Known, Score
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

__all__ = ["SCORES", "Known", "Score"]
