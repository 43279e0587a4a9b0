"""Keeping integer files accurate: tools are tried in order of cost until a file passes its gate.

1. The ranges of activations, of several estimators, that bring the file nearest to its student; then clipped weights,
   cross-layer equalization and bias correction. A tool that brings it nearer still is kept while the next is tried.
2. For a mixed file, a scan: each layer alone is made integer, and scored by what that does. The layers that do
   most harm are then kept float, as few as pass, under the plan that suits the others best.

Tools and layers are ranked on calibration images, by the divergence of the file's answers from the student's;
validation images only say whether a file passes. Everything tried is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from attar.console import track
from attar.errors import AttarError, GateError
from attar.export.capture_output import captured
from attar.export.manifest import FileEntry
from attar.export.plan import RANGES, ByPlan, QuantizationPlan, Tools
from attar.export.verify import Reference, measure
from attar.metrics import kl_divergence

RANKED = 64
"""Calibration images that tools and layers are ranked on, evenly spread."""

OUTLIER_SHARE = 0.01
"""A layer that alone does more than this share of the worst one's harm counts among the worst."""


@dataclass(frozen=True)
class Try:
    """One file that was made.

    Attributes:
        tool: what is new in it.
        plan: how it was made.
        divergence: mean Kullback-Leibler divergence from the student's answers on calibration images, nats.
        drop: points of top-1 lost against the student on the validation images.
        problem: why it did not pass; empty if it did.
    """

    tool: str
    plan: QuantizationPlan
    divergence: float
    drop: float
    problem: str


@dataclass(frozen=True)
class LayerScore:
    """A layer, what making it alone integer does (divergence, nats), and whether it stays float."""

    layer: str
    score: float
    float: bool


class Distances(Protocol):
    """How far integer files of one student are from it."""

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers that a plan may keep float."""

    def divergence(self, plan: QuantizationPlan) -> float:
        """How far the answers of a plan's file to calibration images are from the student's, in nats."""


class Files(Distances, Protocol):
    """Integer files of one student, made one at a time at the same place."""

    @property
    def tools(self) -> Tools:
        """Those of `attar.export.plan.TOOLS` that there are."""

    def attempt(self, tool: str, plan: QuantizationPlan) -> tuple[Try, FileEntry | None]:
        """Make a plan's file and hold it against the gate -> what came of it, and its entry if it passed."""


@dataclass(frozen=True)
class RealFiles:
    """`Files` on disk.

    Attributes:
        by_plan: makes them.
        check: the gate: the entry of a file that passes, or `GateError`.
        path: where files are made, each over the last.
        reference: the student's answers on validation images.
        images: uint8 calibration images (N, H, W, 3).
        answers: the student's probabilities for them (N, classes).
    """

    by_plan: ByPlan
    check: Callable[[Path], FileEntry]
    path: Path
    reference: Reference
    images: np.ndarray
    answers: np.ndarray

    @property
    def layers(self) -> Sequence[str]:
        """See `Files`."""
        return self.by_plan.layers

    @property
    def tools(self) -> Tools:
        """See `Files`."""
        return self.by_plan.tools

    def attempt(self, tool: str, plan: QuantizationPlan) -> tuple[Try, FileEntry | None]:
        """See `Files`."""
        away = self.divergence(plan)
        quietly(self.by_plan.write, plan, self.path)
        try:
            entry = self.check(self.path)
            measured, problem = entry.verification, ""
        except GateError as error:
            entry, problem = None, str(error)
            measured = measure(quietly(self.by_plan.predict, plan, self.reference.pixels), self.reference)
        return Try(tool, plan, away, 100 * (measured["student_top1"] - measured["top1"]), problem), entry

    def divergence(self, plan: QuantizationPlan) -> float:
        """See `Files`."""
        return divergence(self.answers, quietly(self.by_plan.predict, plan, self.images))


def quietly(convert: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a converter, its chatter kept for when it fails."""
    try:
        with captured() as noise:
            return convert(*arguments, **options)
    except AttarError:
        raise
    except Exception as error:
        raise GateError(f"the converter failed: {error}\n{noise.tail}") from error


def recover(files: Files, *, may_keep_float: bool, remedy: str = "export the target with +fp") -> FileEntry:
    """Leave the first file that passes at the files' place.

    Args:
        files: where and how they are made.
        may_keep_float: whether layers may stay float.
        remedy: what to do if they may not, and would have to.

    Returns:
        Its entry, `recovery` filled: {"ranges" (nats of each estimator), "tries", "layers" (most harmful first; empty
        without a scan)}.

    Raises:
        GateError: none passes. If only layers may not stay float, the text names those that would have to.
    """
    away = {kind: files.divergence(QuantizationPlan(ranges=kind)) for kind in RANGES}
    tries, entry = _by_tools(files, QuantizationPlan(ranges=min(away, key=away.__getitem__)))
    if entry is not None:
        return _with_record(entry, away, tries, ())
    best = min(tries, key=lambda item: item.divergence)
    if not files.layers:
        raise GateError(f"{best.problem}. All tools were tried ({_told(tries)}), and no layer can stay float")
    scores = scan(files, best.plan)
    plan = _again(
        files, [best.plan, *(item.plan for item in tries), *(QuantizationPlan(ranges=kind) for kind in RANGES)], scores
    )
    mixed, entry, scores = _fewest_float(files, plan, scores)
    if entry is None:
        raise GateError(f"{best.problem}; not even with every layer float does it pass: {mixed[-1].problem}")
    if may_keep_float:
        return _with_record(entry, away, [*tries, *mixed], scores)
    kept = [item.layer for item in scores if item.float]
    raise GateError(
        f"{best.problem}. All tools were tried ({_told(tries)}). With {len(kept)} of {len(scores)} layers in float it "
        f"passes ({', '.join(kept)}): {remedy}, or train the student on with `attar distill --qat`"
    )


def _told(tries: Sequence[Try]) -> str:
    """Points of top-1 lost by each try."""
    return ", ".join(f"{made.tool}: {made.drop:+.2f}" for made in tries)


def _by_tools(files: Files, plan: QuantizationPlan) -> tuple[list[Try], FileEntry | None]:
    """A plan, then each tool on top of those that helped, until a file passes."""
    first, entry = files.attempt(RANGES[plan.ranges], plan)
    tries, best = [first], first
    for tool, change in files.tools:
        if entry is not None:
            break
        made, entry = files.attempt(tool, replace(best.plan, **change))
        tries.append(made)
        best = min(best, made, key=lambda item: item.divergence)
    return tries, entry


def scan(files: Distances, plan: QuantizationPlan) -> list[LayerScore]:
    """Make each layer alone integer, and all others float -> the layers, most harmful first."""
    scores = []
    for layer in track(files.layers, "Layers' sensitivity", len(files.layers)):
        others = tuple(name for name in files.layers if name != layer)
        scores.append(LayerScore(layer, files.divergence(replace(plan, keep_float=others)), False))
    return sorted(scores, key=lambda item: -item.score)


def _again(files: Files, plans: Sequence[QuantizationPlan], scores: Sequence[LayerScore]) -> QuantizationPlan:
    """The best plan once the worst layers are float: their harm drowned what the tools do for the others."""
    worst = tuple(item.layer for item in scores if item.score > OUTLIER_SHARE * scores[0].score)
    return min(dict.fromkeys(plans), key=lambda plan: files.divergence(replace(plan, keep_float=worst)))


def _fewest_float(
    files: Files, plan: QuantizationPlan, scores: Sequence[LayerScore]
) -> tuple[list[Try], FileEntry | None, list[LayerScore]]:
    """The fewest of the most harmful layers that must stay float, by bisection; then each is tried in integers again.

    The file left at the files' place is that of the answer.
    """
    tries: list[Try] = []
    ranked = [item.layer for item in scores]

    def attempt(kept: Sequence[str]) -> tuple[Try, FileEntry | None]:
        return files.attempt(f"{len(kept)} of {len(ranked)} layers float", replace(plan, keep_float=tuple(kept)))

    def passes(kept: Sequence[str]) -> bool:
        made, entry = attempt(kept)
        tries.append(made)
        return entry is not None

    low, high = 0, 1  # so many are too few, and enough
    while not passes(ranked[:high]):
        if high == len(ranked):
            return tries, None, list(scores)
        low, high = high, min(2 * high, len(ranked))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(ranked[:middle]) else (middle, high)
    kept = ranked[:high]
    for layer in reversed(kept[:-1]):  # without the last one it is known to fail
        fewer = [name for name in kept if name != layer]
        kept = fewer if passes(fewer) else kept
    _, entry = attempt(kept)
    return tries, entry, [replace(item, float=item.layer in kept) for item in scores]


def divergence(expected: np.ndarray, outputs: np.ndarray) -> float:
    """`attar.metrics.kl_divergence` of a file's probabilities, which may be rounded to zero."""
    return kl_divergence(expected, outputs, least=1e-9)


def _with_record(
    entry: FileEntry, away: Mapping[str, float], tries: Sequence[Try], scores: Sequence[LayerScore]
) -> FileEntry:
    record = {
        "ranges": {RANGES[kind]: nats for kind, nats in away.items()},
        "tries": [{**asdict(item), "plan": asdict(item.plan)} for item in tries],
        "layers": [asdict(item) for item in scores],
    }
    return replace(entry, recovery=record)
