"""The loop's study: its page is its record."""

from __future__ import annotations

from attar.benchmarks.studies import loop
from attar.files import read_json


def test_the_page_has_the_recorded_table() -> None:
    text = loop.PAGE.read_text(encoding="utf-8")
    assert text == loop.page(text, read_json(loop.RESULTS)), "run python -m attar.benchmarks.studies.loop --record"


def test_what_was_recorded_is_what_the_page_claims() -> None:
    """The published file gets better, phones never learn a renamed class, and flips are at most half of plain ones."""
    told = read_json(loop.RESULTS)
    assert told["gain"]["interval"][0] > 0
    own = [each for each in told["rounds"] if not each["poison"]]
    assert sum(each["flips"] for each in own) <= sum(each["plain"]["flips"] for each in own) / 2
    assert all(set(each["labels"]) == set(loop.CLASSES) for each in told["rounds"])
