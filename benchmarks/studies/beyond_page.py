"""The section of `attar.benchmarks.studies.beyond` in docs/familiarity.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np

from attar.benchmarks.studies.familiarity_page import HELD, over_seeds
from attar.export.card import table
from attar.students.familiarity.scores import DEFAULT

WITH = " + beyond"
DECIDING = ("imagenet", "kd")
"""Teacher and objective that decide."""
SETS = ("held out", "other things")

TEACHERS = {
    "imagenet": "EfficientNet-Lite0 with ImageNet's weights at 64 px, of which only the classifier is fitted. It has "
    "seen photos of many kinds, as the paper's teacher, DINOv2, has.",
    "digits": "The quickstart's teacher, trained on these digits alone.",
}

Rows = Sequence[Mapping[str, Any]]

_INTRODUCTION = """## What the teacher knows beyond the classes

Written by `python -m attar.benchmarks.studies.beyond`: does the loss `beyond` ([methods.md](methods.md), after Yang et
al., arXiv 2603.11269) make a student that knows better what it does not know? Students of handwritten digits, a third
of the classes held out, are trained with and without it, at the paper's weight of 1: same photos, first weights and
teacher. Each seed holds out other classes. The training is short: {epochs} epochs over {views} views of each photo.

Gains are differences of students of the same seed, with their 95% interval over seeds (Student's t), in points; of
FPR95 a gain below zero is better. "Other things" is the mean over these sets of photos: {far}.
Scores are those of the student itself; no files were exported. The paper's largest gains were those of distances (here
`mahalanobis` and `vim`) on other things. {machine}

The rule, set before anything was measured: `beyond` helps if it raises the AUROC of the default score (`{default}`), on
the held-out classes or on other things, beyond chance, for the objective `{objective}` and the teacher `{teacher}`. No
other row decides; of so many, some intervals leave out zero by luck alone.
"""


def section(record: Mapping[str, Any]) -> str:
    """What decides, then a table for each teacher and objective.

    Args:
        record: `models`, what the study measured of each `"TEACHER MODEL SEED"`; `machine`, `epochs` and `views`.
    """
    models, about = record["models"], record["machine"]
    one = next(iter(models.values()))
    text = _INTRODUCTION.format(
        epochs=record["epochs"],
        views=record["views"],
        far=", ".join(sorted(_far(one))),
        machine=f"{about['cpu']}, {about['cores']} cores.",
        default=DEFAULT,
        teacher=DECIDING[0],
        objective=DECIDING[1],
    )
    parts = [text.strip(), verdict(models)]
    for teacher in dict.fromkeys(name.split()[0] for name in models):
        parts += [f"### Teacher `{teacher}`", _of_teacher(models, teacher)]
        for objective in ("labels", "kd"):
            without, with_it = pairs(models, teacher, objective)
            if without:
                parts += [f"`{objective}`, without and with `beyond`, {_seeds(without)}:", _compared(without, with_it)]
    return "\n\n".join(parts) + "\n"


def verdict(models: Mapping[str, Any]) -> str:
    """What the rule says, with the figures that decide."""
    without, with_it = pairs(models, *DECIDING)
    if len(without) < 2:
        return "Not enough seeds were measured to decide."
    gains = {name: _gain(without, with_it, _auroc(DEFAULT, name)) for name in SETS}
    figures = "; ".join(f"{name} {_interval(values)}" for name, values in gains.items())
    up = [name for name, values in gains.items() if over_seeds(values)[0] > 0]
    down = [name for name, values in gains.items() if over_seeds(values)[1] < 0]
    says = []
    if up:
        says.append(f"**It helps**: the default score tells {' and '.join(up)} better.")
    if down:
        says.append(f"**It harms**: the default score tells {' and '.join(down)} worse.")
    if not says:
        says.append(f"**It does not help**, as far as {_seeds(without)} can show: the intervals hold gains and losses.")
    return f"{' '.join(says)} Gain in AUROC: {figures}."


def pairs(models: Mapping[str, Any], teacher: str, objective: str) -> tuple[Rows, Rows]:
    """Students without and with `beyond`, of the seeds that have both, in the order of seeds."""
    seeds = sorted({int(name.split()[-1]) for name in models})
    names = [(f"{teacher} {objective} {seed}", f"{teacher} {objective}{WITH} {seed}") for seed in seeds]
    both = [(models[a], models[b]) for a, b in names if a in models and b in models]
    return [a for a, _ in both], [b for _, b in both]


def _of_teacher(models: Mapping[str, Any], teacher: str) -> str:
    rows = [row for name, row in models.items() if name.startswith(f"{teacher} teacher ")]
    tells = [f"{100 * np.mean([_auroc(DEFAULT, name)(row) for row in rows]):.1f} ({name})" for name in SETS]
    top1, beyond = (100 * np.mean([row[key] for row in rows]) for key in ("top1", "beyond"))
    text = (
        f"{TEACHERS[teacher]} It is right on {top1:.1f}% of the validation photos; {beyond:.0f}% of the variance of "
        f"its features lies beyond the classes. AUROC of `{DEFAULT}` on its own features: {', '.join(tells)}."
    )
    return fill(text, 119, break_long_words=False)


def _compared(without: Rows, with_it: Rows) -> str:
    rows = [["score", "others", "AUROC without", "with", "gain", "FPR95 without", "with", "gain"]]
    for score in without[0]["scores"]:
        for name in SETS:
            cells = [_cells(without, with_it, measure(score, name)) for measure in (_auroc, _fpr95)]
            rows.append([score, name, *cells[0], *cells[1]])
    own = [["", "without", "with", "change"]]
    own.append(["top-1", *_cells(without, with_it, lambda row: row["top1"])])
    own.append(["effective rank of the features", *_cells(without, with_it, lambda row: row["rank"] / 100)])
    return f"{table(rows)}\n\n{table(own)}"


def _cells(without: Rows, with_it: Rows, figure: Callable[[Mapping[str, Any]], float]) -> Iterator[str]:
    """Mean without, mean with, and the mean difference with its interval, in percent."""
    for rows in (without, with_it):
        yield f"{100 * np.mean([figure(row) for row in rows]):.1f}"
    yield _interval(_gain(without, with_it, figure))


def _gain(without: Rows, with_it: Rows, figure: Callable[[Mapping[str, Any]], float]) -> np.ndarray:
    return np.array([figure(b) - figure(a) for a, b in zip(without, with_it)])


def _interval(gains: np.ndarray) -> str:
    if len(gains) < 2:
        return f"{100 * gains.mean():+.1f}"
    low, high = over_seeds(gains)
    return f"{100 * gains.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _auroc(score: str, name: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda row: _figure(row, score, name, "auroc")


def _fpr95(score: str, name: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda row: _figure(row, score, name, "fpr95")


def _figure(row: Mapping[str, Any], score: str, name: str, key: str) -> float:
    """On the held-out classes, or the mean over the other sets."""
    of_set = row["scores"][score]
    chosen = [HELD] if name == SETS[0] else _far(row)
    return float(np.mean([of_set[each][key] for each in chosen]))


def _far(row: Mapping[str, Any]) -> list[str]:
    return [name for name in row["scores"][DEFAULT] if name != HELD]


def _seeds(rows: Rows) -> str:
    return f"{len(rows)} seeds" if len(rows) > 1 else "one seed"
