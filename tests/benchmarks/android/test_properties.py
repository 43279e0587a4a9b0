"""What phones tell of themselves, in the words of Android's own services."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.benchmarks.android.properties import (
    Core,
    clusters,
    fast_cores,
    pairs,
    parse_battery,
    parse_cores,
    parse_properties,
    parse_thermal,
    throttled,
)
from helpers.standin.plugged import BATTERY, PROPERTIES, THERMAL

PIXEL = [Core(n, khz, khz, "sched_pixel") for n, khz in enumerate([1_704_000] * 4 + [2_367_000] * 4 + [2_914_000])]


def test_properties() -> None:
    properties = parse_properties(PROPERTIES.replace("\n", "\r\n"))
    assert properties["ro.product.model"] == "Stand-in" and properties["ro.product.cpu.abilist"] == "x86_64,x86"


def test_battery() -> None:
    assert parse_battery(BATTERY) == {"battery": 0.85, "battery_celsius": 28.5, "charging": True}
    assert parse_battery(BATTERY.replace("USB powered: true", "USB powered: false"))["charging"] is False
    assert parse_battery(BATTERY.replace("present: true", "present: false")) == {}, "a television has none"
    assert parse_battery(BATTERY.replace("scale: 100", "scale: 200"))["battery"] == 0.425


def test_thermal() -> None:
    assert parse_thermal(THERMAL) == {"thermal_status": 0, "cpu_celsius": 41.25, "skin_celsius": 31.0}
    cached = THERMAL.partition("HAL Ready")[0]
    assert parse_thermal(cached) == {"thermal_status": 0, "cpu_celsius": 99.0}, (
        "the cached ones where there are no others"
    )
    assert parse_thermal("Can't find service: thermalservice\n") == {}


@given(st.text())
def test_any_words_are_read(text: str) -> None:
    for parse in (parse_battery, parse_thermal, parse_cores, parse_properties):
        parse(text)  # type: ignore[operator]


def test_cores_and_clusters() -> None:
    text = "core 1 2300000 900000 schedutil\ncore 0 1800000 1800000 schedutil\ncore 2 - - -\ncat: no such file\n"
    assert parse_cores(text) == [
        Core(0, 1_800_000, 1_800_000, "schedutil"),
        Core(1, 2_300_000, 900_000, "schedutil"),
        Core(2, None, None, None),
    ]
    assert clusters(PIXEL) == "1 × 2.91 GHz, 4 × 2.37 GHz, 4 × 1.70 GHz"


@pytest.mark.parametrize(
    ("threads", "numbers"),
    [(1, [8]), (2, [4, 5, 6, 7, 8]), (5, [4, 5, 6, 7, 8]), (6, list(range(9))), (64, list(range(9)))],
)
def test_whole_clusters_are_taken_until_every_thread_has_a_core(threads: int, numbers: list[int]) -> None:
    assert [core.number for core in fast_cores(PIXEL, threads)] == numbers


def test_cores_that_are_all_alike_or_unknown_are_not_chosen_among() -> None:
    assert fast_cores([Core(n, 2_000_000, None, None) for n in range(4)], 1) == []
    assert fast_cores([Core(n, None, None, None) for n in range(4)], 1) == fast_cores([], 1) == []


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ({"thermal_status": 0}, {"thermal_status": 2}, "thermal status went from 0 to 2"),
        ({"thermal_status": 1}, {"thermal_status": 1}, "from 1 to 1"),
        ({"frequency_limits_khz": [9, 9]}, {"frequency_limits_khz": [9, 8]}, "lowered the frequency"),
        ({"frequency_limits_khz": [9, 8]}, {"frequency_limits_khz": [9, 9]}, None),
        ({"thermal_status": 0, "battery": 1.0}, {"thermal_status": 0}, None),
        ({}, {"thermal_status": 3}, None),
    ],
)
def test_signs_of_throttling(before: dict[str, Any], after: dict[str, Any], word: str | None) -> None:
    signs = pairs(before, after)
    assert all(signs[name] == [before[name], after[name]] for name in signs) and set(signs) == set(before) & set(after)
    reason = throttled(signs)
    assert reason is None if word is None else reason is not None and word in reason
