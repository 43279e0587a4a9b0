"""The report of made fields: no drift where there is none, the known shift where there is one, and plain figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from attar.benchmarks.studies.drift import MODEL, MONDAY, found_of_single, made_field
from attar.data.observations import CIRCUMSTANCES, Observation
from attar.deploy.drift.comparison import LEVEL
from attar.deploy.drift.report import VERSIONS, report
from attar.deploy.drift.versions import Version
from attar.deploy.drift.weeks import read_week, summary, week_of
from attar.errors import InputError

OTHER = 64 * "b"


def of_week(observations: Sequence[Observation], week: str) -> list[Observation]:
    return [each for each in observations if week_of(each) == week]


def test_a_field_in_which_nothing_changes_seldom_drifts() -> None:
    """Contributors differ, so tests of single observations find drift nearly always."""
    fields = [made_field(seed, alike=1.0) for seed in range(20)]
    found = sum(bool(report(field).drift) for field in fields)
    assert found <= binom.isf(0.001, len(fields), LEVEL)
    assert sum(map(found_of_single, fields[:5])) >= 4, "these fields are too easy for this test"


def test_a_known_shift_is_found_where_it_is() -> None:
    for seed in range(3):
        found = report(made_field(seed, people=20, shift_from=6)).drift
        assert {test.week for test in found} == {"2026-W08", "2026-W09"}
        assert {"classes", "confidence", "verdicts"} <= {test.quantity for test in found}
        assert not {"brightness", "sharpness", "backends"} & {test.quantity for test in found}
        classes = next(test for test in found if test.quantity == "classes")
        [first, *_] = classes.moved
        low, high = first.difference.low, first.difference.high
        assert first.name == "ash" and low is not None and high is not None and 0 < low < high
        assert classes.by_chance is not None and classes.effect > classes.by_chance


def test_a_week_is_counted_as_anyone_counts_it() -> None:
    field = made_field(1, familiarity=0.7)
    own = of_week(field, "2026-W04")
    made = summary("2026-W04", own, Version(MODEL, "plants", sure=0.8, familiar=0.75))
    assert (made.observations, made.contributors) == (len(own), len({each.contributor for each in own}))
    counted = Counter(each.predicted for each in own)
    assert made.classes == {name: number / len(own) for name, number in counted.items()}
    assert list(made.classes.values()) == sorted(made.classes.values(), reverse=True)
    probabilities = np.array([each.probability for each in own])
    assert made.confidence.q50 == np.median(probabilities) and made.confidence.mean == pytest.approx(
        probabilities.mean()
    )
    assert made.unsure and made.unsure.value == (probabilities < 0.8).mean()
    assert made.strange and made.strange.value == 1 and made.familiarity and made.familiarity.mean == pytest.approx(0.7)
    assert made.latency and made.latency.q90 == np.quantile([each.latency_ms for each in own], 0.9)
    of_gpu = [each.latency_ms for each in own if each.backend == "litert webgpu"]
    assert made.latency_by_backend["litert webgpu"].q50 == np.median(of_gpu)
    assert made.backends["litert webgpu"] == len(of_gpu) / len(own)
    assert sum(share.value for share in made.verdicts.values()) == pytest.approx(1)
    assert made.beyond == {}


def test_photos_beyond_the_training_photos_are_counted_by_the_sent_size() -> None:
    known = {"photos": 9, "brightness": [100.0, 180.0], "sharpness": 200.0, "side": 3000}
    own = of_week(made_field(2, side=1280), "2026-W02")
    made = summary("2026-W02", own, Version(MODEL, "plants", quality=known))
    assert made.beyond["dark"].value == np.mean([each.brightness < 100 for each in own if each.brightness])
    assert made.beyond["blurred"].value == np.mean([each.sharpness < 200 for each in own if each.sharpness])
    assert made.beyond["small"].value == 0, "a photo is sent with 1280 pixels at most, whatever it had"


def test_what_earlier_phones_sent_is_reported_and_what_they_did_not_measure_is_left_out() -> None:
    bare = [each.model_copy(update=dict.fromkeys(CIRCUMSTANCES)) for each in made_field(0)]
    made = report(bare)
    [week, *_] = made.versions[0].weeks
    assert week.latency is None and week.backends == {} and week.brightness is None and week.familiarity is None
    assert {test.quantity for test in made.tests} == {"classes", "verdicts", "confidence"}
    json.dumps(made.to_json(), allow_nan=False)


def test_one_contributor_is_too_few_and_told_so() -> None:
    made = report([each.model_copy(update={"contributor": "Ana"}) for each in made_field(0, shift_from=6)])
    assert made.tests and all(test.p is None for test in made.tests) and not made.drift
    assert made.drift_sentence == "Drift was not tested: too few contributors, in each week or in its reference."
    [week, *_] = made.versions[0].weeks
    assert week.verdicts["confirmed"].low is None


def test_the_reference_is_the_first_weeks_or_what_is_named() -> None:
    field = made_field(0)
    made = report(field)
    assert made.versions[0].reference == ("2026-W02", "2026-W03", "2026-W04", "2026-W05")
    assert {test.week for test in made.tests} == {"2026-W06", "2026-W07", "2026-W08", "2026-W09"}
    named = report(field, reference=["2026-W05"], weeks=1)
    assert named.versions[0].reference == ("2026-W05",) and {test.week for test in named.tests} == {"2026-W09"}
    assert [week.week for week in named.versions[0].weeks] == ["2026-W09"]
    with pytest.raises(InputError, match=r"--reference 2026-W30: no observations in that week\. There are 2026-W02, "):
        report(field, reference=["2026-W30"])
    assert report(field, since=date(2026, 2, 2)).versions[0].reference[0] == "2026-W06"
    with pytest.raises(InputError, match="since 2027-01-01"):
        report(field, since=date(2027, 1, 1))
    with pytest.raises(InputError, match="no observations yet"):
        report([])
    few = report(of_week(field, "2026-W02"))
    assert few.drift_sentence == "Drift was not tested: no version has a week after its reference."


def test_versions_are_apart_and_called_by_name() -> None:
    field = made_field(0)
    later = [each.model_copy(update={"model": OTHER, "time": each.time + timedelta(days=100)}) for each in field]
    made = report([*later, *field], versions={MODEL: Version(MODEL, "plants-1 litert:int8")})
    assert [each.version.name for each in made.versions] == ["plants-1 litert:int8", "bbbbbbbb"]
    assert [each.observations for each in made.versions] == [len(field)] * 2
    [churn] = made.same.churn
    assert churn.photos == len(field) and churn.differ.value == 0
    assert not made.is_alarm and "nothing could contradict" in made.sentence


def test_versions_that_somebody_made_up_are_left_out_and_their_contradictions_are_not() -> None:
    field = made_field(0, weeks=2)
    made_up = [each.model_copy(update={"model": f"{number:064x}"}) for number, each in enumerate(field[:50])]
    bad = made_up[7].model_copy(update={"predicted": "larch", "probability": 0.99})
    named = {made_up[9].model: Version(made_up[9].model, "plants-2")}
    made = report([*field, *made_up, bad], versions=named)
    assert len(made.versions) == VERSIONS and made.left_out == 51 - VERSIONS
    assert {"plants-2", MODEL[:8]} <= {each.version.name for each in made.versions}
    assert made.is_alarm and len(made.same.churn) == VERSIONS - 1


def test_a_contradiction_is_an_alarm_whose_sentence_names_it() -> None:
    field = made_field(0)
    agreeing = [each.model_copy(update={"backend": "onnx wasm 1 thread"}) for each in field[:5]]
    made = report([*field, *agreeing])
    assert made.sentence == (
        "No alarm: 5 photos got more than one answer from the same file, and no two contradict each other."
    )
    other = field[0].model_copy(update={"predicted": "larch", "probability": 0.99, "backend": "onnx wasm 1 thread"})
    told = report([*field, *agreeing, other])
    assert told.is_alarm and told.sentence.startswith("Alarm: 1 of 5 photos that the same file answered more than once")
    assert "larch (0.99 on onnx wasm 1 thread)" in told.sentence and field[0].image[:8] in told.sentence
    plain: Any = told.to_json()
    assert plain["alarm"] and plain["same_photos"]["alarms"][0]["image"] == field[0].image
    assert "person" not in json.dumps(plain), "nobody is named"


def test_the_same_observations_give_the_same_report() -> None:
    field = made_field(5, weeks=6)
    assert report(field).to_json() == report(field[::-1]).to_json()


@pytest.mark.parametrize("text", ["2026-W18", "2026W18", " 2026-W18 "])
def test_a_week_is_read(text: str) -> None:
    assert read_week(text, "--reference") == "2026-W18"


@pytest.mark.parametrize("text", ["18", "2026-18", "2026-W54", "2026-W00", "W18", "2026-W1٨"])
def test_what_is_no_week_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--reference .* not an ISO week"):
        read_week(text, "--reference")


def test_weeks_are_iso_weeks_in_utc() -> None:
    [first, *_] = made_field(0)
    for time, week in [
        (MONDAY, "2026-W02"),
        (MONDAY - timedelta(seconds=1), "2026-W01"),
        (datetime(2027, 1, 3, 23, tzinfo=UTC), "2026-W53"),
    ]:
        assert week_of(first.model_copy(update={"time": time})) == week
