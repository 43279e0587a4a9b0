"""The soak of many photos: what its table says of steps and memory that it was given."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from attar.benchmarks.studies import soak


def test_each_part_of_an_epoch_has_its_own_rate() -> None:
    numbers = np.arange(0, 410, 10)
    times = np.where(numbers <= 200, numbers * 0.1, 20 + (numbers - 200) * 0.2)  # half as fast in the second half
    assert soak._rates(times, numbers, 64) == [640.0] * 5 + [320.0] * 5


def test_memory_is_the_most_of_each_tenth() -> None:
    when = [0.0, 4.9, 5.0, 9.9, 95.0, 100.0]
    assert soak._in_parts(when, [3, 8, 2, 1, 6, 5], 0.0, 100.0) == [8, 6]


def test_the_first_part_warms_up_and_is_not_in_the_spread() -> None:
    assert soak.spread([10.0, 100.0, 102.0, 97.0]) == pytest.approx(0.03)
    assert soak.spread([7.0]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process and its children is read from /proc")
def test_children_and_their_memory_are_found() -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytearray(64_000_000); input()'])"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE) as process:
        until_there = (soak.look(process.pid) for _ in iter(int, 1))
        found = next(look for look in until_there if look.own > 64_000_000)
        assert found.own < 200_000_000 and found.kept < 1_000_000 and 0 < found.cpu < 100
        assert soak.family(process.pid)[0] == process.pid and len(soak.family(process.pid)) == 2
        process.communicate(b"\n")
    assert process.pid not in soak.family(os.getpid())
    assert soak.look(process.pid).own == 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is read from /proc")
def test_photos_that_are_kept_are_told_by_themselves() -> None:
    from attar.data.store import Kept

    before, kept = soak.look(os.getpid()), Kept(1000, 64_000_000)
    for number in range(1000):
        kept.put(number, Image.new("RGB", (128, 125)))  # 64 kB
    after = soak.look(os.getpid())
    assert 60_000_000 < after.kept - before.kept < 70_000_000 and after.own - before.own < 10_000_000


def test_processor_time_is_told_between_the_looks() -> None:
    looks = [soak.Look(when, 0, 0, cpu) for when, cpu in ((0.0, 100.0), (10.0, 120.0), (20.0, 130.0))]
    assert soak._cpu_at(np.array([0.0, 5.0, 15.0, 20.0]), looks).tolist() == [100.0, 110.0, 125.0, 130.0]


def test_the_table_says_whether_the_weights_are_the_same() -> None:
    results = {
        "rates": [900.0, 1000.0, 1000.0, 990.0],
        "memory": [4 * 10**9] * 4,
        "rates_of_cpu": [450.0, 500.0, 500.0, 480.0],
        "kept": 4 * 10**9,
        "peak": 5 * 10**9,
        "peak_of_training": 2 * 10**9,
        "small_files": False,
        "seconds_to_start": 100.0,
        "seconds_to_continue": 60.0,
        "seconds_of_training": 1000.0,
        "killed": [5, 9],
        "went_on_from": [0, 4],
        "same_weights": False,
        "photos": 1_000_000,
        "validation": 20_000,
        "side": 32,
        "classes": 10_000,
        "steps": 7812,
        "device": {"cpu": "A processor", "cores": 2},
    }
    table = soak.markdown(results)
    assert "| the same weights in the end | **no** |" in table and "1,000,000 training and 20,000" in table
    assert "| images per second | 995, 900, 1000, 1000, 990 |" in table and "| 1.0% |" in table
    assert "| its peak, GB | 2.00, before the training 5.00 |" in table and "| 4.0% |" in table
    assert "**no**" not in soak.markdown(results | {"same_weights": True})
