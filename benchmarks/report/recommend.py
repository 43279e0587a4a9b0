"""Which file to take: the fastest one that meets what its user needs.

Without any need it is the fastest that gives up no more than one point of the student's top-1. Few photos cannot tell
one point: then it is the fastest that is not shown to give up more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attar.benchmarks.report.comparison import Choice, Needs, Row
from attar.benchmarks.units import megabytes, milliseconds, percent, points
from attar.metrics import RESOLVED

__all__ = ["TOLERANCE", "Needs", "choose"]

TOLERANCE = 0.01
"""What a file may lose against the student and still be taken, share of images."""


def choose(rows: Sequence[Row], needs: Needs | None = None, images: int | None = None) -> Choice:
    """The file with the smallest median latency of those that meet the needs; by size where nothing was measured.

    `images` is the number of photos on which the rows were judged; by default as many as tell one point.
    """
    needs, few = needs or Needs(), images is not None and images < RESOLVED
    files = [row for row in rows if row.kind == "file"]
    if not files:
        return Choice(None, None, ("No file passed verification, so there is none to take.",))
    fit = [row for row in files if not needs.missed(row)]
    if not fit:
        return Choice(None, None, (f"No file meets {needs}.", *_nearest(files, needs)))
    if str(needs):
        choice = _fastest(fit if needs.min_top1 is not None else _near(fit, few) or fit, needs, few)
        return replace(choice, reasons=(f"It meets what was asked for: {needs}.", *choice.reasons))
    return _fastest(files, needs, few)


def _nearest(files: Sequence[Row], needs: Needs) -> list[str]:
    """What the files miss that miss the fewest needs."""
    missed = sorted(((needs.missed(row), row) for row in files), key=lambda pair: (len(pair[0]), -pair[1].top1.value))
    fewest = len(missed[0][0])
    return [f"{row.about}: {' and '.join(why)}." for why, row in missed[:3] if len(why) == fewest]


def _near(files: Sequence[Row], few: bool) -> list[Row]:
    """Those that lose no more than the tolerance; of few photos, those that are not shown to lose more."""
    return [row for row in files if _within(row) or (few and row.difference and row.difference.high >= -TOLERANCE)]


def _within(row: Row) -> bool:
    return row.difference is not None and row.difference.value >= -TOLERANCE - 1e-9


def _fastest(files: Sequence[Row], needs: Needs, few: bool) -> Choice:
    near = list(files) if needs.min_top1 is not None else _near(files, few)
    if not near:
        best = max(files, key=lambda row: row.top1.value)
        loss = points(best.difference.value) if best.difference else ""
        return Choice(
            best.about,
            best.name,
            (f"No file keeps within one point of the student. This one comes nearest: {loss} points.",),
        )
    timed = [row for row in near if row.latency]
    bound = "" if needs.min_top1 is not None else " within one point of the student"
    if bound and not all(map(_within, near)):
        bound += ", as far as so few photos can tell"
    if not timed:
        best = min(near, key=lambda row: row.bytes)
        return Choice(
            best.about,
            best.name,
            (
                f"It is the smallest of the {_count(near)}{bound}: {megabytes(best.bytes)}.",
                "No latency was measured on this machine.",
            ),
        )
    best = min(timed, key=lambda row: row.latency.p50 if row.latency else float("inf"))
    return Choice(best.about, best.name, (*_why(best, timed, bound), *_apple(best, near, bound)))


def _why(best: Row, timed: Sequence[Row], bound: str) -> list[str]:
    assert best.latency is not None
    p50 = best.latency.p50
    others = sorted((r for r in timed if r is not best and r.latency), key=lambda r: r.latency.p50 if r.latency else 0)
    speed = f"It is the fastest of the {_count(timed)} timed here{bound and ' that stay' + bound}"
    if not others:
        speed = f"It is the only file timed here{bound and ' that stays' + bound}"
    reasons = [f"{speed}: {milliseconds(p50)} at the median."]
    if others and others[0].latency:
        runner_up = others[0].latency.p50
        reasons[0] = reasons[0][:-1] + f"; the next, {others[0].name}, takes {milliseconds(runner_up)}."
    if best.difference:
        low, high = best.difference.low, best.difference.high
        against = "as the student is" if best.difference.value == 0 else _against(best.difference.value)
        reasons.append(
            f"It is right on {percent(best.top1.value)} of the photos, {against} "
            f"(95% interval of the difference: {points(low)} to {points(high)} points)."
        )
    reasons.append(f"It weighs {megabytes(best.bytes)}.")
    return reasons


def _against(difference: float) -> str:
    return f"{abs(100 * difference):.1f} points {'more' if difference > 0 else 'less'} than the student"


def _apple(best: Row, near: Sequence[Row], bound: str) -> list[str]:
    apple = [row for row in near if row.name.startswith("coreml:")]
    if best in apple or not apple:
        return []
    small = min(apple, key=lambda row: row.bytes)
    bound = bound and bound.replace(" of the student", "")
    return [f"For an iPhone, {small.about} is the smallest Core ML file{bound} ({megabytes(small.bytes)})."]


def _count(rows: Sequence[Row]) -> str:
    return "one file" if len(rows) == 1 else f"{len(rows)} files"
