"""`attar quickstart` and `attar run`: the whole way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.app import Data, Duplicates, Json, Output, RecipeFile, Set, app
from attar.cli.inputs import recipe_of
from attar.cli.shown import show

if TYPE_CHECKING:
    from attar.recipe import Recipe


Quick = Annotated[bool, typer.Option("--quick", help="Measure latency for two seconds, and do not look where it goes.")]
QUICK = ["bench.quick=true", "bench.seconds=2"]


@app.command()
def quickstart(output: Output = Path("quickstart"), quick: Quick = False, as_json: Json = False) -> None:
    """The whole way on handwritten digits, in a few minutes.

    Example: `attar quickstart`
    """
    from attar.recipe import read_recipe

    recipe = read_recipe(Path(__file__).with_name("quickstart.yaml"), QUICK if quick else [])
    _run(recipe, output, as_json)


@app.command()
def run(
    recipe: RecipeFile = None,
    data: Data = None,
    output: Output = Path("runs/attar"),
    continue_from: Annotated[
        Path | None,
        typer.Option(help="An earlier run: begin with its models, keep its validation photos.", show_default=False),
    ] = None,
    quick: Quick = False,
    allow_duplicates: Duplicates = False,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Photos to verified phone files and a report, in one command.

    Run it again after an interruption: it continues.

    Example: `attar run --data photos/ --output runs/flowers`
    """
    sets = [*(QUICK if quick else []), *(overrides or [])]
    _run(recipe_of(recipe, data, sets, allow_duplicates), output, as_json, continue_from)


def _run(recipe: Recipe, output: Path, as_json: bool, continue_from: Path | None = None) -> None:
    from attar.benchmarks.report.report import terminal_table
    from attar.cli.pipeline import run
    from attar.console import say
    from attar.files import read_json
    from attar.runfolder import RunFolder

    comparison = run(recipe, output, continue_from)
    if comparison is None:  # in ranks other than the first
        return
    data = read_json(RunFolder(output).provenance)["data"] if as_json else None
    show({**comparison.to_json(), "data": data}, as_json, lambda: terminal_table(comparison))
    say(f"Report: {output / 'report.html'}")
