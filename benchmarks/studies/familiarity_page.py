"""The tables of `attar.benchmarks.studies.familiarity`, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from attar.benchmarks.report.outliers import DRAWN, NEAR
from attar.export.card import table

HELD = "held"
"""The set of the classes that were held out."""


def page(students: Mapping[str, Any], scores: Sequence[str], targets: Sequence[str]) -> str:
    """What decides, then every set and file, then what failed.

    Args:
        students: `"SOURCE SEED"` -> what the study measured of a student.
    """
    sources = list(dict.fromkeys(name.split()[0] for name in students))
    parts = [_deciding(students, sources, scores, targets[0])]
    parts += [_whole(students, source, scores, targets) for source in sources]
    return "\n\n".join([*parts, _failed(students, scores, targets)])


def best(students: Mapping[str, Any], scores: Sequence[str], target: str) -> str:
    """The score with the largest mean AUROC on held-out classes, each source counting the same."""
    sources = list(dict.fromkeys(name.split()[0] for name in students))
    return max(scores, key=lambda score: np.mean([_mean(students, each, score, target, HELD) for each in sources]))


def _deciding(students: Mapping[str, Any], sources: Sequence[str], scores: Sequence[str], target: str) -> str:
    rows = [["score", *(f"{source} held out" for source in sources), "mean"]]
    for score in scores:
        means = [_mean(students, source, score, target, HELD) for source in sources]
        cells = [_cell(students, source, score, target, HELD) for source in sources]
        rows.append([score, *cells, f"{100 * np.mean(means):.1f}"])
    chosen = best(students, scores, target)
    return f"{table(rows)}\n\nAUROC / FPR95 of `{target}`, %. The largest mean has `{chosen}`."


def _whole(students: Mapping[str, Any], source: str, scores: Sequence[str], targets: Sequence[str]) -> str:
    sets = _sets(students, source)
    rows = [["score", "file", *("held out" if name == HELD else name for name in sets)]]
    for score in scores:
        for target in targets:
            rows.append([score, target, *(_cell(students, source, score, target, name) for name in sets)])
    right = [100 * each["top1"] for each in _of(students, source)]
    seeds = f"{len(right)} seeds" if len(right) > 1 else "one seed"
    return f"Students of {source}, {np.mean(right):.1f}% right, {seeds}:\n\n{table(rows)}"


def _failed(students: Mapping[str, Any], scores: Sequence[str], targets: Sequence[str]) -> str:
    rows = [["score", *targets]]
    for score in scores:
        counts = [sum(target in each["scores"][score]["failed"] for each in students.values()) for target in targets]
        rows.append([score, *(f"{count} of {len(students)}" for count in counts)])
    return f"Files that failed `attar export`:\n\n{table(rows)}"


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
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        low, high = max(0.0, values.mean() - half), min(1.0, values.mean() + half)
    passing = 100 * np.mean([each["fpr95"] for each in figures])
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] / {passing:.0f}"
