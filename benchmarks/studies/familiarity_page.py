"""The page of `attar.benchmarks.studies.familiarity`: docs/familiarity.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from attar.benchmarks.report.outliers import DRAWN, NEAR
from attar.export.card import table

HELD = "held"
"""The set of the classes that were held out."""

_INTRODUCTION = """# Which score of familiarity

Written by `python -m attar.benchmarks.studies.familiarity`: {students} students, each exported with every score
([confidence.md](confidence.md#photos-of-something-else) says what familiarity is). A third of the classes are held
out: handwritten digits, and Han characters drawn from typefaces that were not trained on. Each seed holds out other
classes, and begins with other weights.

In every cell: AUROC with its 95% interval over seeds (Student's t), and FPR95, the share of the others that pass where
95% of the student's own photos do; both in percent. 50 is guessing. Of a file that failed on some seeds, a cell has
the mean of the others. {machine}

## What decides

`default` is the score whose `{target}` files have the largest mean AUROC on classes that were held out, each source
counting the same, among the scores of which `attar export` refused no file. Photos of other things and drawn pictures
take no part: nobody knows what people will point a phone at, and classes to hold out, everyone has. The rule was set
before anything was measured, but for the refused files: that they rule a score out was added when the first had failed.
"""


def page(record: Mapping[str, Any], scores: Sequence[str], targets: Sequence[str]) -> str:
    """What decides, then every set and file, then what failed.

    Args:
        record: `students`, what the study measured of each `"SOURCE SEED"`; and `machine`.
    """
    students = record["students"]
    sources = list(dict.fromkeys(name.split()[0] for name in students))
    about = record["machine"]
    machine = f"{about['cpu']}, {about['cores']} cores."
    parts = [_INTRODUCTION.format(students=len(students), machine=machine, target=targets[0])]
    parts += [_deciding(students, sources, scores, targets[0])]
    parts += [f"## {source}\n\n{_whole(students, source, scores, targets)}" for source in sources]
    return "\n\n".join([*map(str.strip, parts), _failed(students, scores, targets)]) + "\n"


def best(students: Mapping[str, Any], scores: Sequence[str], target: str) -> str | None:
    """The score with the largest mean AUROC on held-out classes, each source counting the same.

    None of its files failed. None if there is no such score.
    """
    sources = list(dict.fromkeys(name.split()[0] for name in students))
    whole = [score for score in scores if not any(each["scores"][score]["failed"] for each in students.values())]
    means = {score: np.mean([_mean(students, each, score, target, HELD) for each in sources]) for score in whole}
    return max(means, key=lambda score: means[score], default=None)


def _deciding(students: Mapping[str, Any], sources: Sequence[str], scores: Sequence[str], target: str) -> str:
    rows = [["score", *(f"{source} held out" for source in sources), "mean"]]
    for score in scores:
        means = [_mean(students, source, score, target, HELD) for source in sources]
        cells = [_cell(students, source, score, target, HELD) for source in sources]
        rows.append([score, *cells, f"{100 * np.mean(means):.1f}"])
    chosen = best(students, scores, target)
    which = f"`default` is `{chosen}`." if chosen else "Of every score a file failed, so there is no default."
    return f"{table(rows)}\n\n{which}"


def _whole(students: Mapping[str, Any], source: str, scores: Sequence[str], targets: Sequence[str]) -> str:
    sets = _sets(students, source)
    rows = [["score", "file", *("held out" if name == HELD else name for name in sets)]]
    for score in scores:
        for target in targets:
            rows.append([score, target, *(_cell(students, source, score, target, name) for name in sets)])
    right = [100 * each["top1"] for each in _of(students, source)]
    seeds = f"{len(right)} seeds" if len(right) > 1 else "one seed"
    about = f"Students that are right on {np.mean(right):.1f}% of their own validation photos, {seeds}."
    return f"{about}\n\n{table(rows)}"


def _failed(students: Mapping[str, Any], scores: Sequence[str], targets: Sequence[str]) -> str:
    rows = [["score", *targets]]
    for score in scores:
        counts = [sum(target in each["scores"][score]["failed"] for each in students.values()) for target in targets]
        rows.append([score, *(f"{count} of {len(students)}" for count in counts)])
    return (
        f"## Files that failed\n\nHow many files `attar export` refused. The record has the reasons.\n\n{table(rows)}"
    )


def _sets(students: Mapping[str, Any], source: str) -> list[str]:
    """Near ones first, drawn pictures last."""
    found: dict[str, str] = {}
    for student in _of(students, source):
        for score in student["scores"].values():
            for file in score["files"].values():
                found |= {name: each["kind"] for name, each in file.items()}
    return sorted(found, key=lambda name: (found[name] != NEAR, found[name] == DRAWN))


def _of(students: Mapping[str, Any], source: str) -> list[Any]:
    return [each for name, each in students.items() if name.split()[0] == source]


def _figures(students: Mapping[str, Any], source: str, score: str, target: str, name: str) -> Iterator[Any]:
    for student in _of(students, source):
        sets = student["scores"][score]["files"].get(target, {})
        if name in sets:
            yield sets[name]


def _mean(students: Mapping[str, Any], source: str, score: str, target: str, name: str) -> float:
    values = [each["auroc"] for each in _figures(students, source, score, target, name)]
    return float(np.mean(values)) if values else 0.0


def _cell(students: Mapping[str, Any], source: str, score: str, target: str, name: str) -> str:
    """Mean AUROC with its 95% interval over seeds (Student's t; of one seed, over photos), and mean FPR95."""
    figures = list(_figures(students, source, score, target, name))
    if not figures:
        return "failed"
    values = np.array([each["auroc"] for each in figures])
    low, high = figures[0]["low"], figures[0]["high"]
    if len(values) > 1:
        low, high = np.clip(over_seeds(values), 0.0, 1.0)
    passing = 100 * np.mean([each["fpr95"] for each in figures])
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] / {passing:.0f}"


def over_seeds(values: np.ndarray) -> tuple[float, float]:
    """95% interval of the mean of one value per seed, at least two (Student's t)."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)
