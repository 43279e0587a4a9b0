"""One version's answers in one week: what they were, how they came about, and what people said of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from attar.data.observations import LARGEST_SIDE, Observation, Verdict
from attar.deploy.drift.clustered import Share, share_of
from attar.deploy.drift.versions import Version
from attar.errors import InputError
from attar.quality import Quality, beyond


@dataclass(frozen=True)
class Spread:
    """A measured quantity: of how many observations, the mean, and quantiles."""

    observations: int
    mean: float
    q10: float
    q50: float
    q90: float


@dataclass(frozen=True)
class Week:
    """What a version answered in an ISO week.

    Attributes:
        week: such as `2026-W18`, in UTC.
        observations, contributors: how many.
        classes: share of each predicted label, the most common first.
        confidence: probability of the predicted label.
        unsure: share below the file's "sure", if that is known.
        familiarity: None where no answer has one; so are the next.
        strange: share below the file's threshold of familiarity, if that is known.
        brightness, sharpness, side: of the photos.
        beyond: share of photos that are `dark`, `bright`, `blurred` or `small` beside the training photos, if known.
        backends: share of each way of running the model.
        latency: milliseconds, of all.
        latency_by_backend: and of each way.
        verdicts: share of each verdict.
    """

    week: str
    observations: int
    contributors: int
    classes: dict[str, float]
    confidence: Spread
    unsure: Share | None
    familiarity: Spread | None
    strange: Share | None
    brightness: Spread | None
    sharpness: Spread | None
    side: Spread | None
    beyond: dict[str, Share]
    backends: dict[str, float]
    latency: Spread | None
    latency_by_backend: dict[str, Spread]
    verdicts: dict[str, Share]


def week_of(observation: Observation) -> str:
    """The ISO week in UTC."""
    year, week, _ = observation.time.isocalendar()
    return f"{year:04d}-W{week:02d}"


def read_week(text: str, option: str) -> str:
    """A week as a user writes it.

    Raises:
        InputError: it is none.
    """
    if match := re.fullmatch(r"(\d{4})-?W(\d{1,2})", text.strip(), re.ASCII):
        try:
            year, week, _ = date.fromisocalendar(int(match[1]), int(match[2]), 1).isocalendar()
            return f"{year:04d}-W{week:02d}"
        except ValueError:
            pass
    raise InputError(f"{option} {text!r}: not an ISO week. Write it as 2026-W18.")


def people_of(observations: Sequence[Observation]) -> np.ndarray:
    """A number for each observation's contributor, int (observations,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(each.contributor, len(numbers)) for each in observations], int)


def summary(week: str, observations: Sequence[Observation], version: Version) -> Week:
    """What stands in the report of a week; there is at least one observation."""
    people = people_of(observations)
    by_backend: dict[str, list[Observation]] = {}
    for each in observations:
        if each.backend is not None:
            by_backend.setdefault(each.backend, []).append(each)
    latencies = {name: spread_of([each.latency_ms for each in own]) for name, own in sorted(by_backend.items())}
    return Week(
        week,
        len(observations),
        int(people.max()) + 1,
        _shares([each.predicted for each in observations]),
        _spread([each.probability for each in observations]),
        _below([each.probability for each in observations], version.sure, people),
        spread_of([each.familiarity for each in observations]),
        _below([each.familiarity for each in observations], version.familiar, people),
        spread_of([each.brightness for each in observations]),
        spread_of([each.sharpness for each in observations]),
        spread_of([each.side for each in observations]),
        _beyond(observations, version, people),
        _shares([each.backend for each in observations if each.backend is not None]),
        spread_of([each.latency_ms for each in observations]),
        {name: spread for name, spread in latencies.items() if spread},
        {
            str(verdict): share_of(np.array([each.verdict is verdict for each in observations]), people)
            for verdict in Verdict
        },
    )


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return _spread(known) if known else None


def _spread(values: Sequence[float]) -> Spread:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return Spread(len(values), float(np.mean(values)), float(low), float(middle), float(high))


def _shares(names: Sequence[str]) -> dict[str, float]:
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return {name: count / len(names) for name, count in counts}


def _below(values: Sequence[float | None], threshold: float | None, people: np.ndarray) -> Share | None:
    known = np.array([value is not None for value in values])
    if threshold is None or not known.any():
        return None
    return share_of(np.array([value for value in values if value is not None]) < threshold, people[known])


def _beyond(observations: Sequence[Observation], version: Version, people: np.ndarray) -> dict[str, Share]:
    if not version.quality:
        return {}
    known = {**version.quality, "side": min(version.quality["side"], LARGEST_SIDE)}
    found = [_names(each, known) for each in observations]
    measured = np.array([names is not None for names in found])
    if not measured.any():
        return {}
    names = [each for each in found if each is not None]
    kinds = ("dark", "bright", "blurred", "small")
    return {kind: share_of(np.array([kind in each for each in names]), people[measured]) for kind in kinds}


def _names(each: Observation, known: Mapping[str, object]) -> tuple[str, ...] | None:
    if each.brightness is None or each.sharpness is None or each.side is None:
        return None
    return beyond(Quality(each.brightness, each.sharpness, each.side), known)
