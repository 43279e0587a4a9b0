"""`attar bench` as a whole: measure, keep, judge. What it found is plain data.

    measure -> append to the history -> conditions against a baseline, verdict on the machine, ratios, floors

What was measured is kept before it is judged, so a failed condition loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.benchmarks.latency.gate import Condition, Judgement, judge, of_baseline, read_condition, require_runs
from attar.benchmarks.latency.history import History, opened
from attar.benchmarks.latency.host import describe
from attar.benchmarks.latency.intervals import Estimate, percentile_estimates, ratio_estimate
from attar.benchmarks.latency.measure import bench
from attar.benchmarks.latency.record import Key, Record
from attar.benchmarks.latency.roofline import Floor, floors_of
from attar.benchmarks.latency.stability import Verdict, of_runs
from attar.benchmarks.runtimes import chosen, runtime_for
from attar.benchmarks.units import estimate_text
from attar.console import say
from attar.errors import InputError


@dataclass(frozen=True)
class Ratio:
    """How many times as long a file takes as the fp32 file in the same runtime did in the same run."""

    target: str
    reference: str
    runtime: str
    estimate: Estimate

    def __str__(self) -> str:
        return f"{self.target} takes {estimate_text(self.estimate)} times as long as {self.reference}"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"target": self.target, "reference": self.reference, "runtime": self.runtime, **self.estimate.to_json()}


@dataclass(frozen=True)
class Measurement:
    """What a run of measurements found."""

    records: tuple[Record, ...]
    verdict: Verdict
    ratios: tuple[Ratio, ...]
    judgements: tuple[Judgement, ...] = ()

    @property
    def floors(self) -> list[Floor]:
        """What bounds the files of which it is known."""
        return floors_of(self.records)

    @property
    def failed(self) -> tuple[Judgement, ...]:
        """The conditions that failed."""
        return tuple(each for each in self.judgements if each.outcome == "failed")

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "records": [{**each.to_json(), "intervals": _intervals(each)} for each in self.records],
            "verdict": self.verdict.to_json(),
            "ratios": [each.to_json() for each in self.ratios],
            "judgements": [each.to_json() for each in self.judgements],
            "floors": [each.to_json() for each in self.floors],
        }


@dataclass(frozen=True)
class Tracking:
    """Which database to keep measurements in, and what to hold them against.

    Attributes:
        history: the SQLite file.
        tag: a name for this run.
        against: the tag of the baseline's runs.
        fail_if: conditions such as `p50 > 1.10x baseline`.
    """

    history: Path | None = None
    tag: str | None = None
    against: str | None = None
    fail_if: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.fail_if and not self.against:
            raise InputError("--fail-if needs a baseline: name its tag with --against.")
        if (self.tag or self.against) and not self.history:
            option = "--tag" if self.tag else "--against"
            raise InputError(f"{option} needs a database of measurements: name it with --history.")


Bench = Callable[..., list[Record]]
"""(exports folder, options) -> records, as `bench` gives them."""


def measurement(
    exports: Path, tracking: Tracking | None = None, elsewhere: Bench | None = None, **options: Any
) -> Measurement:
    """Measure the files of an exports folder, keep what was measured, and hold it against a baseline.

    Args:
        exports: folder with a manifest.json.
        tracking: the database, and the baseline in it.
        elsewhere: what measures instead of `bench`, such as `attar.benchmarks.android.bench`; a baseline is then taken
            from history, for each device its own.
        options: those of `bench` or of `elsewhere`.

    Raises:
        InputError: as `bench`; a database that cannot be used, no such baseline on this device.
    """
    tracking = tracking or Tracking()
    conditions = [read_condition(text) for text in tracking.fail_if]
    if tracking.history is None:
        return _found((elsewhere or bench)(exports, **options), (), ())
    if elsewhere is not None:
        keeper = Keeper(tracking)
        records = elsewhere(exports, **options)
        keeper.keep(records)
        return _found(records, (), keeper.judged(records))
    with opened(tracking.history, create=True) as history:
        baseline, beside = _baseline(history, tracking, Path(exports), **_how(options))
        records = bench(exports, beside=beside, **options)
        own, others = records[: len(records) - len(beside)], records[len(records) - len(beside) :]
        history.add(own, [tracking.tag] if tracking.tag else [], [Path(exports) / each.file for each in own])
        return _found(own, others, _judged(own, others, baseline, conditions))


def _how(options: dict[str, Any]) -> dict[str, Any]:
    return {"threads": int(options.get("threads", 1)), "runtime": options.get("runtime")}


class Keeper:
    """Keeps what other devices measure in the history, and holds it against the baseline that was there before.

    Raises:
        InputError: the database cannot be used, no run has the baseline's tag, or a condition is spelled wrongly.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking, self._known = tracking, list[Record]()
        self._conditions = [read_condition(text) for text in tracking.fail_if]
        if tracking.history is not None:
            with opened(tracking.history, create=True) as history:
                self._known = history.records(tracking.against) if tracking.against else []
        if tracking.against and not self._known:
            raise InputError(f"--against {tracking.against}: no run has this tag. `attar history FILE` lists them.")

    def keep(self, records: Sequence[Record]) -> None:
        """Add records to the history; those that are there already stay as they are."""
        if self._tracking.history is not None:
            with opened(self._tracking.history, create=True) as history:
                history.add(records, [self._tracking.tag] if self._tracking.tag else [])

    def judged(self, records: Sequence[Record]) -> list[Judgement]:
        """Hold each record against what the same runtime did on the same device in the baseline's runs.

        Of a device that the baseline cannot tell anything of, the reason is told.

        Raises:
            InputError: there is none of which it can.
        """
        judgements: list[Judgement] = []
        reasons: list[str] = []
        tag = self._tracking.against
        for alike in _alike(records) if tag else []:
            first = alike[0]
            try:
                baseline = of_baseline(self._known, str(tag), first.device, first.threads, {first.runtime["name"]})
                require_runs(baseline, [each.key for each in alike if each.key in baseline], str(tag))
                judgements += _judged(alike, (), baseline, self._conditions)
            except InputError as reason:
                reasons.append(str(reason))
        if reasons and not judgements:
            raise InputError(" ".join(dict.fromkeys(reasons)))
        for each in dict.fromkeys(reasons):
            say(each)
        return judgements


def _alike(records: Sequence[Record]) -> list[list[Record]]:
    """Records of one run, one runtime and as many threads together."""
    groups: dict[tuple[str, str, int], list[Record]] = {}
    for each in records:
        groups.setdefault((each.run, each.runtime["name"], each.threads), []).append(each)
    return list(groups.values())


def ratios(records: Sequence[Record]) -> list[Ratio]:
    """Every file of a run against the fp32 file of the same runtime."""
    estimates = []
    for record in records:
        name, run = record.runtime["name"], record.run
        alike = [each for each in records if each.runtime["name"] == name and each.run == run]
        reference = next((each for each in alike if each.target.endswith(":fp32")), None)
        if reference is not None and reference is not record and record.run:
            estimates.append(
                Ratio(record.target, reference.target, name, ratio_estimate(record.rounds, reference.rounds))
            )
    return estimates


def _intervals(record: Record) -> dict[str, dict[str, float | None]]:
    return {name: each.to_json() for name, each in zip(record.percentiles, percentile_estimates(record.rounds))}


def _found(own: Sequence[Record], others: Sequence[Record], judgements: Sequence[Judgement]) -> Measurement:
    return Measurement(tuple(own), of_runs([*own, *others]), tuple(ratios(own)), tuple(judgements))


def _baseline(
    history: History, tracking: Tracking, exports: Path, threads: int, runtime: str | None
) -> tuple[dict[Key, list[Record]], list[tuple[Record, Path]]]:
    """The baseline's records, as far as `exports` has it, and those of its files that can be timed again."""
    from attar.export.manifest import read_manifest

    if tracking.against is None:
        return {}, []
    targets = {str(entry.target) for entry in read_manifest(exports).files}
    names = {name for target in targets for name in chosen(target.partition(":")[0], runtime)}
    runtimes = {runtime_for(name).NAME for name in names}
    baseline = of_baseline(history.records(tracking.against), tracking.against, describe(), threads, runtimes)
    if missing := sorted({target for target, _ in baseline} - targets):
        say(f"Only the baseline has {', '.join(missing)}: not compared.")
    baseline = {key: records for key, records in baseline.items() if key[0] in targets}
    if not baseline:
        raise InputError(f"--against {tracking.against}: it has {', '.join(missing)}, and {exports} none of these.")
    places = {key: history.place(records[-1].sha256) for key, records in baseline.items()}
    require_runs(baseline, [key for key, place in places.items() if place is None], tracking.against)
    return baseline, [(baseline[key][-1], place) for key, place in places.items() if place is not None]


def _judged(
    own: Sequence[Record], others: Sequence[Record], baseline: dict[Key, list[Record]], conditions: Sequence[Condition]
) -> list[Judgement]:
    again = {each.key: each for each in others}
    compared = [record for record in own if record.key in baseline]
    if baseline and not compared:
        there = ", ".join(sorted({target for target, _ in baseline}))
        raise InputError(
            f"The baseline has {there}, and none of these was measured now: there is nothing to compare. The records "
            "were kept."
        )
    return [
        judgement
        for record in compared
        for judgement in judge(record, baseline[record.key], again.get(record.key), conditions)
    ]
