"""The planning page: its arithmetic by hand, and that the page is the command's."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from attar.benchmarks.studies.planning import COSTS, PAGE, RESULTS, Plan, cache_bytes, page, stages_of
from attar.distill.topk_logits import TopK
from attar.files import read_json

COSTS_OF_ONE = {"views_per_second": 100.0, "teacher_flops": 10**9, "student_flops": 10**8}


def test_a_stage_takes_what_its_slower_part_takes() -> None:
    plan = Plan(
        photos=1000,
        teacher_epochs=2,
        views=5,
        student_epochs=4,
        gpu_tflops=1,
        teacher_share=0.5,
        student_share=0.1,
        cores=12,
    )
    fine_tuning, caching, training = stages_of(plan, COSTS_OF_ONE)
    assert [each.passes for each in (fine_tuning, caching, training)] == [2000, 5000, 4000]
    # 10^9 operations at half of 10^12 a second are 2 ms, three times in training; 12 cores draw 1,200 views a second.
    assert fine_tuning.computing == pytest.approx(2000 * 3 * 0.002) and caching.computing == pytest.approx(5000 * 0.002)
    assert training.computing == pytest.approx(4000 * 3 * 0.001) and caching.drawing == pytest.approx(5000 / 1200)
    slow = stages_of(plan, {**COSTS_OF_ONE, "views_per_second": 1.0})[1]
    assert slow.hours(1) == pytest.approx(5000 / 12 / 3600) and slow.hours(8) == pytest.approx(slow.hours(1) / 8)
    assert caching.hours(1) == pytest.approx(10 / 3600)


def test_the_cache_is_as_large_as_what_is_written_to_it() -> None:
    plan = Plan(photos=7, views=3, classes=2000, kept=16)
    packed, whole = cache_bytes(plan)
    answers = TopK(16, 2000, 1.0).pack(np.random.default_rng(0).normal(size=(7, 2000)).astype(np.float32))
    assert packed == 3 * answers.nbytes and whole == 3 * 7 * 2000 * 2


def test_the_page_is_what_the_command_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(Plan(), read_json(COSTS))


def test_a_gpus_shares_give_back_the_rates_that_were_measured() -> None:
    student, plan = read_json(RESULTS / "gpu-student.json"), Plan()
    [_, caching, training] = stages_of(plan, {**COSTS_OF_ONE, "student_flops": student["operations"] // 3})
    rate = median(student["images_per_second"]["the training loop"])
    # The two studies measured the peak of one card, which differed by a few percent.
    assert training.passes / training.computing == pytest.approx(rate, rel=0.05)
    eager = read_json(RESULTS / "gpu-teacher.json")["teacher"]
    per_second = eager["eager"] * eager["operations"] / COSTS_OF_ONE["teacher_flops"]
    assert caching.passes / caching.computing == pytest.approx(per_second, rel=0.01)
