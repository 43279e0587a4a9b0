"""The drift report as people meet it: the command on a folder that a server filled, and its page in a browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from attar.benchmarks.studies.drift import MODEL, made_field
from attar.data.observations import Observation
from attar.deploy.collect.store import opened
from attar.deploy.drift.drift_page import markdown, write_report
from attar.deploy.drift.reading import observations_of
from attar.deploy.drift.report import report
from attar.deploy.drift.versions import versions_of
from attar.errors import InputError
from attar.export.manifest import read_manifest
from helpers.browser import browsing, chromium, faults, visit
from helpers.collecting import attar
from helpers.familiar import familiar_exports
from helpers.observed import jpeg

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=document.title='no'>" + "x" * 200


def again(each: Observation, **changes: Any) -> Observation:
    """Another observation of its photo."""
    return each.model_copy(update={"id": uuid4(), "time": each.time + timedelta(minutes=1), **changes})


def keep(folder: Path, observations: Sequence[Observation]) -> None:
    """As if they had been sent."""
    with opened(folder, create=True) as store:
        for name in dict.fromkeys(each.contributor for each in observations):
            store.invite(name)
        for each in observations:
            store.add(each, jpeg(1), each.image)


def test_the_command_tells_an_alarm_first_writes_three_files_and_exits_by_it(tmp_path: Path, shared: Path) -> None:
    exports = familiar_exports(shared)
    entry = next(each for each in read_manifest(exports).files if each.target == "onnx:fp32")
    field = [
        each.model_copy(update={"model": entry.sha256, "familiarity": 0.2}) for each in made_field(3, people=4, weeks=5)
    ]
    good, bad = field[:60], again(field[0], predicted=HOSTILE, probability=1.0, backend="onnx webgpu")
    keep(tmp_path / "good", good)
    quiet = attar("drift", tmp_path / "good", "--run", exports, "--check")
    assert not quiet["alarm"] and quiet["sentence"].startswith("No alarm: no photo was answered twice")
    [version] = quiet["versions"]
    assert version["version"]["name"] == "familiar onnx:fp32" and version["observations"] == 60
    assert entry.decision and version["version"]["familiar"] == entry.decision["familiar"]["threshold"]
    assert version["weeks"][0]["strange"]["value"] == float(entry.decision["familiar"]["threshold"] > 0.2)
    assert json.loads((tmp_path / "good" / "drift" / "drift.json").read_text()) == quiet
    keep(tmp_path / "bad", [*good, bad])
    told = attar("drift", tmp_path / "bad", "-o", tmp_path / "out")  # without --check, an alarm is told and no failure
    assert told["alarm"] and told["versions"][0]["version"]["name"] == entry.sha256[:8]
    assert (tmp_path / "out" / "drift.md").read_text().startswith("**Alarm: 1 of 1 photo ")
    assert "Error" not in attar("drift", tmp_path / "bad", "--check", "-o", tmp_path / "out", code=1)


def test_a_phone_whose_clock_is_wrong_counts_when_it_sent(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    believable = (False, True, True, False)
    moments = [datetime(1970, 1, 1, tzinfo=UTC), *(now + timedelta(days=days) for days in (-1, -180, 2))]
    made = made_field(3, people=2, weeks=1)[: len(moments)]
    sent = [each.model_copy(update={"time": moment}) for each, moment in zip(made, moments)]
    keep(tmp_path, sent)
    with opened(tmp_path) as store:
        found = {each.id: each.time for each in observations_of(store)}
    for each, believed in zip(sent, believable):
        assert (found[each.id] == each.time) is believed
        assert believed or abs(found[each.id] - now) < timedelta(minutes=10)


def test_bad_input_is_one_clear_error_and_nothing_is_written(tmp_path: Path) -> None:
    keep(tmp_path / "field", made_field(3, people=2, weeks=1)[:3])
    (tmp_path / "empty").mkdir()
    for words, said in [
        ((tmp_path / "empty",), "no observations here"),
        ((tmp_path / "field", "--since", "2999-01-01"), "no observations since 2999-01-01. Give an earlier day."),
        ((tmp_path / "field", "--reference", "2030-W01"), "--reference 2030-W01: no observations in that week"),
        ((tmp_path / "field", "--reference", "first"), "--reference 'first': not an ISO week"),
        ((tmp_path / "field", "--run", tmp_path / "empty"), "no manifest.json"),
    ]:
        assert said in " ".join(attar("drift", *words, code=2).split())
    assert not (tmp_path / "field" / "drift").exists()
    assert "drift" in attar("drift", tmp_path / "field")["drift_sentence"].lower()


def test_files_are_called_by_their_run(shared: Path, tmp_path: Path) -> None:
    exports = familiar_exports(shared)
    manifest = read_manifest(exports)
    found = versions_of([exports])
    assert {each.name for each in found.values()} == {f"familiar {entry.target}" for entry in manifest.files}
    [version] = [each for each in found.values() if each.name.endswith("onnx:fp32")]
    assert version.quality == manifest.data.get("quality")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        versions_of([tmp_path])


def test_the_page_is_accessible_and_nothing_of_it_is_wider_than_the_screen(tmp_path: Path) -> None:
    chromium()
    field = made_field(1, shift_from=6, familiarity=0.7)
    other = [again(each, model="b" * 64, predicted="elm" if each.id.int % 3 else "yew") for each in field[:60]]
    hostile = [
        again(field[5], predicted=HOSTILE, probability=0.9, backend="onnx wasm 1 thread"),
        again(field[6], predicted="شجرة", probability=0.99),
        *(again(each, predicted=HOSTILE, image=2 * each.image[:32]) for each in field[-40:]),
    ]
    made = report([*field, *other, *hostile])
    assert made.is_alarm and made.drift and made.same.churn, "the page would lack a part"
    assert "<" not in markdown(made).replace("\\<", "")
    path = write_report(made, tmp_path, HOSTILE)
    with browsing() as browser:
        for scheme in ("light", "dark"):
            for width in (390, 1440):
                page = visit(browser, path.as_uri(), viewport={"width": width, "height": 900}, color_scheme=scheme)
                assert page.title() == "Alarm: attar drift" and page.locator("img").count() == 0
                assert page.locator("h1").inner_text() == made.sentence
                page.locator("summary").click()
                assert faults(page) == []
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                page.context.close()
        page = visit(browser, path.as_uri())
        drifted = {test.week for test in made.drift if test.quantity == "confidence" and test.model == MODEL}
        chart = page.locator("figure", has_text="Confidence").first
        assert chart.locator(".mark.drifted").count() == len(drifted) > 0
        assert all(f"{week}: " in (chart.locator("svg").get_attribute("aria-label") or "") for week in drifted)
