"""`attar retrain`: a run goes on with what people said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from attar.cli.app import Json, Output, Set, app
from attar.cli.run import QUICK, Quick
from attar.cli.shown import show

if TYPE_CHECKING:
    from attar.benchmarks.report.compare import Comparison
    from attar.deploy.retrain.plan import Plan
    from attar.runfolder import RunFolder


@app.command()
def retrain(
    run: Annotated[Path, typer.Argument(help="The run to go on from.")],
    observations: Annotated[Path, typer.Option(help="Folder that `attar collect` keeps.")],
    output: Output,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="An observation that was withdrawn; once for each.", show_default=False),
    ] = None,
    unreviewed: Annotated[bool, typer.Option("--unreviewed", help="Also learn from what nobody has reviewed.")] = False,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Show what nobody has reviewed to the student, without labels.")
    ] = False,
    new_class: Annotated[int, typer.Option(min=2, help="Least number of photos of a new class.")] = 10,
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of all photos: so many one person may bring, at most.")
    ] = 0.1,
    teacher: Annotated[
        Literal["auto", "keep", "refit"],
        typer.Option(help="auto: keep it if it is as good on the new photos, fit it anew if not."),
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be learned from.")] = False,
    quick: Quick = False,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Train a run's models on, with the photos that people sent and reviewers accepted.

    Validation photos stay; labels that are probably wrong go back to `attar review`. Run it again after an
    interruption: it continues with the same photos.

    Example: `attar retrain runs/plants-1 --observations plants --output runs/plants-2`
    """
    from attar.console import say
    from attar.deploy.retrain.gather import Rules
    from attar.deploy.retrain.plan import plan
    from attar.runfolder import RunFolder

    before, folder = RunFolder(run), RunFolder(output.resolve())
    rules = Rules(tuple(without or ()), unreviewed, new_class, share, unlabelled)
    sets = [*(QUICK if quick else []), *(overrides or [])]
    made = plan(before, observations, folder, rules, teacher=teacher, sets=sets, dry_run=dry_run)
    for line in lines_of(made):
        say(line)
    if dry_run:
        show(made.told, as_json, None)
        return
    comparison = train_on(before, made, folder, sets)
    if comparison is not None:
        from attar.benchmarks.report.report import terminal_table

        show({**comparison.to_json(), "retrain": made.told}, as_json, lambda: terminal_table(comparison))
        say(f"Report: {output / 'report.html'}")


def train_on(run: RunFolder, made: Plan, output: RunFolder, sets: list[str]) -> Comparison | None:
    """Run a plan that was written into `output`, from the models and the recipe of `run`."""
    from attar.cli.pipeline import run as run_recipe
    from attar.recipe import read_recipe

    added = str(output.observations.resolve()) if made.ids else None
    unlabelled = str(output.unlabelled.resolve()) if made.unlabelled else None
    recipe = read_recipe(run.recipe, sets, {"added": added, "added_unlabelled": unlabelled, **_base(run)})
    return run_recipe(recipe, output.path, run.path, keep_teacher=made.keep_teacher)


def _base(before: RunFolder) -> dict[str, str]:
    """The run's own photos, from wherever the command is given; a source's are written anew."""
    from attar.bundle import read_bundle
    from attar.provenance import data_of
    from attar.recipe import read_recipe

    if read_recipe(before.recipe).data.source:
        return {}
    return {"path": data_of(read_bundle(before.student, "student").provenance).path}


def lines_of(made: Plan) -> list[str]:
    """What is learned from, what is not, and what a person should do about it."""
    from collections import Counter

    told: dict[str, Any] = made.told
    new, every = told["new"], len(told["train"]) + len(told["val"])
    lines = [
        f"Observations: {new['train']:,} new ones to learn from, {new['val']:,} new ones held out; "
        f"{every:,} in all{' (as when this run began)' if made.found is None else ''}."
    ]
    if count := len(told.get("unlabelled", ())):
        lines.append(f"  {count:,} unreviewed ones are shown to the student without their labels.")
    if told["relabelled"]:
        lines.append(f"  {len(told['relabelled']):,} of the earlier run have another label now.")
    if told["gone"]:
        lines.append(f"  {len(told['gone']):,} of the earlier run are left out now.")
    reasons = Counter(each["reason"] for each in told["left_out"])
    lines += [f"  left out: {count:,}: {reason}" for reason, count in reasons.most_common()]
    if not told["split_by_place"]:
        lines.append("  note: people's places connect all of them, so the split is by person, not by place.")
    for each in told["proposals"]:
        lines.append(
            f"  a new class? {each['photos']:,} photos by {each['contributors']} people are said to show "
            f"{each['name']!r}. Relabel them in `attar review` to add it."
        )
    return [*lines, *([made.why] if made.why else [])]
