"""Is it one of mine? How much a photo is like those that a student knows, from what it computes anyway.

Each score is held against `pytorch-ood`, and all against outliers that are real:
`python -m attar.benchmarks.studies.outliers`.
"""

from attar.students.familiarity.familiarity import REFUSED, Familiarity
from attar.students.familiarity.score import Known, Score
from attar.students.familiarity.scores import SCORES, score_name

__all__ = ["REFUSED", "SCORES", "Familiarity", "Known", "Score", "score_name"]
