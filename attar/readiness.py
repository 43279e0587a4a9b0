"""Whether a trained model is fit to be shipped, judged from the metrics in its bundle, in plain sentences.

A file can compute exactly what its student does and still be worthless: the student may have learned nothing. Every
place that tells of a student or its files asks here, so that all of them say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FEW_STEPS = 1000
"""Optimizer steps below which a model that has learned little has above all been trained too briefly."""

FAR = 0.05
"""Top-1 that a teacher, or the training photos, must be ahead of the student to be remarked on."""


@dataclass(frozen=True)
class Readiness:
    """What there is to say about a model.

    Attributes:
        reasons: why it should not be shipped yet, and what to do; empty if nothing is known against it.
        remarks: what does not forbid it, and should be known.
    """

    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether nothing is known against shipping it."""
        return not self.reasons

    def __str__(self) -> str:
        """All of it, the verdict first; empty if there is nothing to say."""
        return " ".join([*(["Do not ship yet."] if self.reasons else []), *self.reasons, *self.remarks])

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"ready": self.ready, "reasons": list(self.reasons), "remarks": list(self.remarks)}


def at_chance(metrics: Mapping[str, Any]) -> bool:
    """Whether the 95% interval of a model's top-1 does not lie above the share of the commonest class.

    Metrics of version 0.1 do not have that share; of them nothing is known, and the answer is False.
    """
    majority, interval = metrics.get("majority"), metrics.get("top1_interval")
    return bool(majority and interval and interval[0] <= majority["share"])


def judged(metrics: Mapping[str, Any], teacher: Mapping[str, Any] | None = None) -> Readiness:
    """Judge a model by its bundle's metrics, and beside them those of its teacher, if it had one.

    Args:
        metrics: as `attar.train.evaluation.evaluate` makes them, and `steps`, the number of optimizer steps.
        teacher: the same of the teacher.
    """
    if "top1" not in metrics:  # made by hand, and never evaluated
        return Readiness()
    if at_chance(metrics):
        return Readiness(reasons=(_chance(metrics), _remedy(metrics, teacher)))
    return Readiness(remarks=tuple(filter(None, (_behind_teacher(metrics, teacher), _behind_training(metrics)))))


def of_bundle(metrics: Mapping[str, Any], provenance: Mapping[str, Any], labels: Sequence[str]) -> Readiness:
    """Judge a model by what its bundle holds, and the labels of its validation photos.

    Bundles of version 0.1 do not say how frequent the commonest class is; it is counted from `labels` then.
    """
    taught = (provenance.get("teacher") or {}).get("metrics")
    values = dict(metrics)
    if "majority" not in values and "top1_interval" in values and labels:
        values["majority"] = majority(labels)
    return judged(values, taught)


def majority(labels: Sequence[str]) -> dict[str, Any]:
    """The commonest of some labels and its share, which is what answering it always would reach."""
    (label, count), *_ = Counter(labels).most_common(1)
    return {"label": label, "share": count / len(labels)}


def summary(metrics: Mapping[str, Any]) -> str:
    """One line on how a training went: validation and training accuracy, and what always one answer would reach."""
    text = f"top-1 {_percent(metrics['top1'])} on {metrics['images']} validation photos"
    if "train_top1" in metrics:
        text += f", {_percent(metrics['train_top1'])} on {metrics['train_images']} training photos"
    if majority := metrics.get("majority"):
        text += f"; always answering {majority['label']!r} would reach {_percent(majority['share'])}"
    return text


def message(kind: str, name: str, metrics: Mapping[str, Any], teacher: Mapping[str, Any] | None = None) -> str:
    """What a person reads after a training: the summary, and below it what speaks against the model or is remarkable.

    Args:
        kind: "Teacher" or "Student".
        name: of the architecture.
        metrics: of its bundle.
        teacher: those of its teacher.
    """
    judgement = judged(metrics, teacher)
    lines = [f"{kind} {name}: {summary(metrics)}"]
    lines += [f"  Do not ship yet. {' '.join(judgement.reasons)}"] if judgement.reasons else []
    lines += [f"  {remark}" for remark in judgement.remarks]
    return "\n".join(lines)


def _chance(metrics: Mapping[str, Any]) -> str:
    low, high = (_percent(value) for value in metrics["top1_interval"])
    majority = metrics["majority"]
    return (
        f"The model is right on {_percent(metrics['top1'])} [{low}, {high}] of {metrics['images']} validation photos, "
        f"and always answering {majority['label']!r} would be right on {_percent(majority['share'])}: it is not shown "
        "to have learned anything."
    )


def _remedy(metrics: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> str:
    if teacher and at_chance(teacher):
        return "Its teacher is at chance too. Fit the teacher first, with more epochs, another start or more photos."
    steps, learned = metrics.get("steps"), metrics.get("train_top1")
    if learned is not None and learned - metrics["top1"] > 0.25:
        return (
            f"On its training photos it is right on {_percent(learned)}: it knows these and not the others. Give it "
            "more photos, pretrained weights, or stronger views."
        )
    if steps is not None and steps < FEW_STEPS:
        return (
            f"It was trained for {steps} steps. Leave epochs out of the recipe, which then gives it at least "
            f"{FEW_STEPS}, or start from pretrained weights."
        )
    if metrics["images"] < 100:
        return f"{metrics['images']} validation photos can show little: add photos, or train longer."
    return "Look at the labels first; then train longer, start from pretrained weights, or change the learning rate."


def _behind_teacher(metrics: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> str | None:
    if teacher is None or "top1" not in teacher:
        return None
    gap = teacher["top1"] - metrics["top1"]
    shown = teacher.get("top1_interval", [teacher["top1"]])[0] > metrics.get("top1_interval", [0, metrics["top1"]])[1]
    if gap < FAR or not shown:
        return None
    return (
        f"Its teacher is right on {_percent(teacher['top1'])}, {100 * gap:.1f} points more. More epochs, a larger "
        "student, pretrained weights or another loss (docs/methods.md) may close the gap."
    )


def _behind_training(metrics: Mapping[str, Any]) -> str | None:
    gap = metrics.get("train_top1", 0.0) - metrics["top1"]
    if gap < FAR or metrics["train_top1"] <= metrics.get("top1_interval", [0, metrics["top1"]])[1]:
        return None
    return (
        f"The model is right on {_percent(metrics['train_top1'])} of its training photos, {100 * gap:.1f} points "
        "more than on others: more photos or stronger views may help."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
