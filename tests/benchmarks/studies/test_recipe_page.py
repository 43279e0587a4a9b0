"""docs/recipe.md is what the code says."""

from __future__ import annotations

from dataclasses import fields

from attar.benchmarks.studies.recipe_page import PAGE, page
from attar.data.views import ViewPolicy
from attar.recipe import TEACHERS, BenchPart, DataPart, DistillSpec, LossPart, Recipe


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m attar.benchmarks.studies.recipe_page"


def test_it_has_every_key_and_says_what_each_means() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    named = {row.split("`")[1] for row in rows}
    specs = (Recipe, DataPart, *TEACHERS.values(), DistillSpec, BenchPart, LossPart)
    keys = {name for spec in specs for name in spec.model_fields} | {each.name for each in fields(ViewPolicy)}
    assert named == keys - {"data", "views", "teacher", "student", "bench"}
    assert all(row.rstrip(" |").split("|")[-1].strip() for row in rows)
    assert all(row.count("| ") >= 3 and not row.endswith("|  |") for row in rows)
