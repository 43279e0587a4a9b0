"""Benchmarks of distillation: their statistics and tables, and one that runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from attar.benchmarks.studies import budget, heads, methods, seeds, teacher_cache
from attar.benchmarks.studies.answers import Answers
from attar.benchmarks.studies.methods import LABELS
from attar.distill.losses import objective_of
from attar.metrics import two_way_interval
from attar.recipe import read_recipe
from helpers import warm

DEVICE = {"cpu": "a CPU", "cores": 2}


def test_an_interval_over_seeds_and_photos_holds_what_either_alone_would_miss() -> None:
    rng = np.random.default_rng(0)
    lucks, photos = rng.normal(size=(5, 1)), rng.normal(size=(1, 400))
    of_photos = two_way_interval(np.repeat(photos, 5, axis=0))
    of_seeds = two_way_interval(np.repeat(lucks, 400, axis=1))
    both = two_way_interval(lucks + photos)
    assert both[1] - both[0] > of_photos[1] - of_photos[0]
    assert both[1] - both[0] > 0.95 * (of_seeds[1] - of_seeds[0])  # a little less: photos add degrees of freedom
    # Photos alone: the normal interval of a mean, 1.96 standard errors either way.
    expected = 2 * 1.96 * photos.std() / np.sqrt(400)
    assert of_photos[1] - of_photos[0] == pytest.approx(expected, rel=0.1)
    assert both[0] < (lucks + photos).mean() < both[1]
    # Seeds alone: Student's interval of five numbers, which is 2.776 standard errors either way.
    assert of_seeds[1] - of_seeds[0] == pytest.approx(2 * 2.776 * lucks.std(ddof=1) / np.sqrt(5), rel=1e-3)


def test_an_interval_of_one_seed_speaks_of_photos_alone_and_one_without_spread_is_a_point() -> None:
    photos = np.random.default_rng(0).normal(size=(1, 400))
    low, high = two_way_interval(photos)
    assert high - low == pytest.approx(2 * 1.966 * photos.std(ddof=1) / np.sqrt(400), rel=1e-3)
    assert two_way_interval(np.ones((5, 4))) == (1.0, 1.0)


@pytest.mark.parametrize("luck", seeds.LUCK.values())
def test_the_interval_of_a_gain_holds_the_truth_as_often_as_it_says(luck: float) -> None:
    rng, truth = np.random.default_rng(1), seeds.true_gain(luck)
    assert np.mean([seeds.gains(rng, luck, 50, 400).mean() for _ in range(40)]) == pytest.approx(truth, abs=0.005)
    intervals = [two_way_interval(seeds.gains(rng, luck, 5, 300)) for _ in range(1000)]
    held = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.92 <= held <= 0.98


def test_the_table_of_intervals_shows_shares_of_draws() -> None:
    row = {
        "luck": "none",
        "seeds": 5,
        "truth": 0.01,
        "held": dict.fromkeys(seeds.INTERVALS, 19),
        "reach": {"attar": 0.013},
    }
    page = seeds.markdown({"draws": 20, "photos": 656, "rows": [row]})
    assert "| 5 | none | 95.0 | 95.0 | 95.0 | ±1.3 |" in page


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_is_a_recipe(name: str) -> None:
    student = read_recipe(methods.RECIPE, list(methods.METHODS[name])).student
    losses = [each.loss for each in objective_of(student).losses]
    assert name == LABELS or len(losses) == len(name.split(" + "))


def test_the_table_of_methods_shows_gains_with_their_intervals() -> None:
    rows = [
        {"method": LABELS, "top1": [0.8, 0.82], "gain": 0.0, "gain_interval": [0.0, 0.0]},
        {"method": "kd", "top1": [0.79, 0.8], "gain": -0.015, "gain_interval": [-0.03, 0.01]},
    ]
    teacher = {"name": "t at 160 px", "top1": 0.87, "interval": [0.85, 0.9]}
    about = {"photos": 656, "student": "s", "size": 128, "epochs": 24, "cpu": ["one CPU", "another"]}
    page = methods.markdown({"rows": rows, "teachers": [teacher], **about})
    assert "| labels alone | 81.0 | 80.0, 82.0 |  |" in page
    assert "| kd | 79.5 | 79.0, 80.0 | -1.5 [-3.0, +1.0] |" in page and "one CPU and another." in page
    assert "Teacher: t at 160 px, 87.0% [85.0, 90.0]." in page
    assert "Teachers, fitted alike: t at" in methods.markdown({"rows": rows, "teachers": [teacher] * 2, **about})


def test_a_study_goes_on_from_what_models_answered(tmp_path: Path) -> None:
    jobs = [methods.Job(name, seed) for name in (LABELS, "kd") for seed in (0, 1)]
    right = np.random.default_rng(0).random((4, 35)) < 0.8
    record = Answers(tmp_path / "answers.json")
    record.put("teacher f", "", right[0], teacher="t at 160 px")
    for job, row in zip(jobs, right):
        assert not record.has(job.name, job.key)
        record.put(job.name, job.key, row, teacher="" if job.method == LABELS else "teacher f")
    again = Answers(tmp_path / "answers.json")
    assert all(again.has(job.name, job.key) for job in jobs)
    others = methods.Job("kd", 0, ("student.epochs=3",)), methods.Job("dkd", 0)
    assert not any(again.has(job.name, job.key) for job in others)
    results = methods.measured(again, jobs)
    assert results["photos"] == 35 and len(results["cpu"]) == 1
    assert [row["top1"] for row in results["rows"]] == [right[:2].mean(1).tolist(), right[2:].mean(1).tolist()]
    assert results["rows"][1]["gain"] == pytest.approx(right[2:].mean() - right[:2].mean())
    assert results["teachers"][0]["name"] == "t at 160 px" and results["teachers"][0]["top1"] == right[0].mean()


def test_a_teacher_of_another_split_has_seen_the_photos_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"data": {"path": "photos", "val_fraction": 0.25, "seed": 1, "unlabelled": None}}
    monkeypatch.setattr(methods, "read_bundle", lambda *_: SimpleNamespace(provenance=about))
    methods._require_split(Path("teacher"), read_recipe(methods.RECIPE, ["data.seed=1"]))
    with pytest.raises(SystemExit, match=r"data\.seed=1"):
        methods._require_split(Path("teacher"), read_recipe(methods.RECIPE))


def test_the_table_of_the_budget_names_what_everything_took() -> None:
    teacher = {"name": "t", "size": 256, "top1": 0.883, "interval": [0.86, 0.91], "cpu_minutes": 23.0}
    student = {
        "name": "s",
        "size": 256,
        "epochs": 12,
        "top1": [0.88, 0.89],
        "interval": [0.86, 0.91],
        "cpu_minutes": 29.6,
    }
    page = budget.markdown({"photos": 656, "device": DEVICE, "teacher": teacher, "student": student})
    assert "| teacher: t | 256 px | 88.3 [86.0, 91.0] | 23 |" in page
    assert "| s, 12 epochs | 256 px | 88.5 [86.0, 91.0] (88.0, 89.0) | 30 |" in page


def test_the_table_of_the_cache_compares_rounds_with_each_other() -> None:
    rates = {
        teacher_cache.LABELS: [100.0, 50.0, 80.0],
        teacher_cache.CACHED: [98.0, 49.0, 80.0],
        teacher_cache.LIVE: [10.0],
    }
    page = teacher_cache.markdown(
        {
            "images_per_second": rates,
            "device": DEVICE,
            "student": "s",
            "teacher": "t",
            "size": 128,
            "batch_size": 32,
            "photos": 64,
            "cache_images_per_second": 5.0,
        }
    )
    assert "| teacher from the cache | 80.0 | 0.987 [0.980, 1.000] | 3 |" in page  # (0.98 + 0.98 + 1.00) / 3
    assert "| teacher live | 10.0 | 0.100 | 1 |" in page and "is 10 times as fast" in page


def test_the_table_of_heads_sets_both_side_by_side() -> None:
    rows = [
        {
            "classes": classes,
            "head": head,
            "parameters": 1e6 * (1 + (head == "stock")),
            "bytes": {"fp32": 4e6, "int8": 1e6},
            "milliseconds": {"fp32": 2.0, "int8": 1.0},
        }
        for classes in heads.CLASSES
        for head in heads.HEADS
    ]
    costs, accuracy = (
        [{"name": "s", "rows": rows}],
        {
            "student": "s",
            "photos": 656,
            "top1": {"stock": [0.8], "dwsconv": [0.81]},
            "gain": 0.01,
            "gain_interval": [-0.01, 0.03],
        },
    )
    page = heads.markdown({"costs": costs, "size": 224, "device": DEVICE, "accuracy": accuracy})
    assert "| s | 10,000 | 2.00, 1.00 | 1.00, 1.00 | 2.00, 2.00 | 1.00, 1.00 |" in page
    assert "difference +1.0 points [-1.0, +3.0]" in page


@pytest.mark.slow
def test_the_benchmark_of_the_cache_runs(tmp_path: Path) -> None:
    words = [
        "--teacher",
        "vit_tiny_patch16_224",
        "--size",
        "32",
        "--photos",
        "32",
        "--rounds",
        "1",
        "--live",
        "1",
        "--epochs",
        "1",
    ]
    command = warm.command("attar.benchmarks.studies.teacher_cache", "--output", tmp_path, *words)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    rates = results["images_per_second"]
    assert {name: len(each) for name, each in rates.items()} == {
        teacher_cache.LABELS: 1,
        teacher_cache.CACHED: 1,
        teacher_cache.LIVE: 1,
    }
    assert (
        rates[teacher_cache.LIVE][0] < rates[teacher_cache.CACHED][0]
    )  # a ViT at 224 against a MobileNet at 32: not near
    assert "teacher live" in done.stdout


def test_the_recipe_of_the_budget_is_one() -> None:
    recipe = read_recipe(budget.RECIPE)
    assert recipe.teacher and recipe.student.size == recipe.teacher.options["img_size"]
    assert len(objective_of(recipe.student).losses) == 1
