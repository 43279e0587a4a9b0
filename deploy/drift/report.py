"""The drift report: versions by week, drift since their first weeks, and the same photos; plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from attar.benchmarks.units import listed
from attar.data.observations import Observation
from attar.deploy.drift.comparison import LEVEL, DriftTest, Sides, compare
from attar.deploy.drift.same_photo import TOLERANCE, Pair, SamePhotos, same_photos
from attar.deploy.drift.versions import SHORT, Version, unknown
from attar.deploy.drift.weeks import Week, summary, week_of
from attar.errors import InputError

FIRST = 4
"""Weeks with observations that are a version's reference, unless it is told otherwise."""
VERSIONS = 30
"""Versions that are reported: those with a name first, then those with the most observations. Whoever was invited may
send any number of hashes."""
_NAMED = 3


@dataclass(frozen=True)
class OfVersion:
    """A version in the field.

    Attributes:
        version: which.
        observations, contributors: all that count, of all weeks.
        reference: the weeks that others are held against.
        weeks: in the order of time; those that `weeks` leaves out are missing.
    """

    version: Version
    observations: int
    contributors: int
    reference: tuple[str, ...]
    weeks: tuple[Week, ...]


@dataclass(frozen=True)
class Report:
    """What the field does to a model.

    Attributes:
        observations: that count.
        versions: in the order in which they were seen first.
        tests: for drift.
        same: the same photos.
        tolerance: how far one file's answers may be apart.
        since: observations before that day do not count.
        left_out: versions beyond `VERSIONS`; their answers count for the alarm only.
    """

    observations: int
    versions: tuple[OfVersion, ...]
    tests: tuple[DriftTest, ...]
    same: SamePhotos
    tolerance: float
    since: date | None
    left_out: int = 0

    @property
    def is_alarm(self) -> bool:
        """Whether a file contradicts itself."""
        return bool(self.same.alarms)

    def name(self, model: str) -> str:
        """What a version is called."""
        return next((each.version.name for each in self.versions if each.version.sha256 == model), model[:SHORT])

    @property
    def drift(self) -> tuple[DriftTest, ...]:
        """The tests that found something."""
        return tuple(test for test in self.tests if test.is_drift)

    @property
    def untested(self) -> int:
        """Tests that could find nothing, for too few contributors."""
        return sum(test.p is None for test in self.tests)

    @property
    def sentence(self) -> str:
        """Whether there is an alarm, and what it is."""
        if not self.same.repeated:
            return "No alarm: no photo was answered twice by the same file, so nothing could contradict itself."
        photos = f"{self.same.repeated:,} {_plural('photo', self.same.repeated)}"
        if not self.is_alarm:
            return f"No alarm: {photos} got more than one answer from the same file, and no two contradict each other."
        count, worst = len(self.same.alarms), self.same.alarms[0]
        has = "has" if count == 1 else "have"
        return (
            f"Alarm: {count:,} of {photos} that the same file answered more than once {has} answers that contradict "
            f"each other, up to {worst.apart:.2f} apart where {self.tolerance:g} is allowed: "
            f"{self.name(worst.one.model)} said {said(worst.one)} and {said(worst.other)} of photo "
            f"{worst.image[:SHORT]}."
        )

    @property
    def drift_sentence(self) -> str:
        """Whether anything changed since the first weeks, and what."""
        tested = len(self.tests) - self.untested
        few = f" {self.untested} more could find nothing: too few contributors." if self.untested else ""
        if not self.tests:
            return "Drift was not tested: no version has a week after its reference."
        if not tested:
            return "Drift was not tested: too few contributors, in each week or in its reference."
        if not self.drift:
            tests = _plural("test", tested)
            return f"No drift beyond chance in {tested} {tests}, at {100 * LEVEL:g}% for all of them.{few}"
        weeks: dict[tuple[str, str], list[str]] = {}
        for test in self.drift:
            weeks.setdefault((test.model, test.week), []).append(test.quantity)
        named = [
            f"{self.name(model)} in {week}: {listed(found)}" for (model, week), found in list(weeks.items())[:_NAMED]
        ]
        more = f"; and {len(weeks) - _NAMED} more weeks" if len(weeks) > _NAMED else ""
        return f"Drift in {len(self.drift)} of {tested} tests: {'; '.join(named)}{more}.{few}"

    def to_json(self) -> dict[str, Any]:
        """As plain data. Nobody's name is in it."""
        return {
            "alarm": self.is_alarm,
            "sentence": self.sentence,
            "drift": bool(self.drift),
            "drift_sentence": self.drift_sentence,
            "observations": self.observations,
            "since": self.since and self.since.isoformat(),
            "left_out": self.left_out,
            "versions": [asdict(each) for each in self.versions],
            "tests": [{**asdict(test), "drift": test.is_drift} for test in self.tests],
            "tolerance": self.tolerance,
            "same_photos": {
                "repeated": self.same.repeated,
                "alarms": [_pair(pair) for pair in self.same.alarms],
                "ties": [_pair(pair) for pair in self.same.ties],
                "churn": [
                    {
                        "before": each.before,
                        "now": each.now,
                        "photos": each.photos,
                        "differ": asdict(each.differ),
                        "pairs": [_pair(pair) for pair in each.pairs],
                    }
                    for each in self.same.churn
                ],
            },
        }


def report(
    observations: Iterable[Observation],
    *,
    versions: Mapping[str, Version] | None = None,
    since: date | None = None,
    weeks: int | None = None,
    reference: Sequence[str] = (),
    tolerance: float = TOLERANCE,
) -> Report:
    """What the field did.

    Args:
        observations: in any order.
        versions: what is known of files, by their SHA-256.
        since: leave out what was said before that day (UTC).
        weeks: of each version, only its last weeks are listed and tested.
        reference: weeks such as `2026-W18` to hold others against; by default each version's first four.
        tolerance: how far one file's answers to a photo may be apart, in (0, 1).

    Raises:
        InputError: nothing is left to report, or nothing was observed in a week of the reference.
    """
    counted = [each for each in observations if since is None or each.time.date() >= since]
    if not counted:
        raise InputError(f"no observations since {since}. Give an earlier day." if since else "no observations yet.")
    counted.sort(key=lambda each: (each.time, each.id))
    by_version: dict[str, dict[str, list[Observation]]] = {}
    for each in counted:
        by_version.setdefault(each.model, {}).setdefault(week_of(each), []).append(each)
    seen = {week for own in by_version.values() for week in own}
    if absent := [week for week in reference if week not in seen]:
        raise InputError(f"--reference {absent[0]}: no observations in that week. There are {listed(sorted(seen))}.")
    described, sides = [], []
    known = versions or {}
    size = {model: sum(map(len, own.values())) for model, own in by_version.items()}
    reported = set(sorted(by_version, key=lambda model: (model not in known, -size[model]))[:VERSIONS])
    for model, own in by_version.items():
        if model not in reported:
            continue
        version = known.get(model) or unknown(model)
        base = tuple(week for week in own if week in (reference or [*own][:FIRST]))
        shown = [*own][-weeks:] if weeks else [*own]
        described.append(
            OfVersion(
                version,
                size[model],
                len({each.contributor for week in own.values() for each in week}),
                base,
                tuple(summary(week, own[week], version) for week in shown),
            )
        )
        before = tuple(each for week in base for each in own[week])
        sides += [Sides(model, week, tuple(own[week]), before) for week in shown if base and week not in base]
    same = same_photos(counted, tolerance, reported)
    left_out = len(by_version) - len(reported)
    return Report(len(counted), tuple(described), compare(sides), same, tolerance, since, left_out)


def said(each: Observation) -> str:
    """An answer, as a sentence has it."""
    how = f" on {each.backend}" if each.backend else ""
    return f"{each.predicted} ({each.probability:.2f}{how})"


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _pair(pair: Pair) -> dict[str, Any]:
    fields = ("id", "model", "predicted", "probability", "backend", "with_geo", "time")
    one, other = (each.model_dump(mode="json") for each in (pair.one, pair.other))
    return {
        "image": pair.image,
        "apart": pair.apart,
        "one": {name: one.get(name) for name in fields},
        "other": {name: other.get(name) for name in fields},
    }
