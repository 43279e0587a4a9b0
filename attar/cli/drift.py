"""`attar drift`: what the field does to a model, from observations alone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from attar.cli.app import Json, app
from attar.cli.shown import show


@app.command()
def drift(
    folder: Annotated[Path, typer.Argument(help="Folder that `attar collect` keeps.")],
    run: Annotated[
        list[Path] | None,
        typer.Option(help="A run or an exports folder, whose files are then called by name. Repeatable."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Leave out what was said before that day (UTC).", show_default=False),
    ] = None,
    weeks: Annotated[
        int | None, typer.Option(min=1, help="Last weeks of each version to list and test.", show_default="all")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WEEK", help="Such as 2026-W18. Repeatable.", show_default="each version's first four weeks"
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="How far two answers of one file to one photo may be apart.")
    ] = 0.04,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 on an alarm.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for drift.html, .md and .json.", show_default="drift/ in FOLDER"),
    ] = None,
    as_json: Json = False,
) -> None:
    """What the field does to a model: its answers by version and week, without anyone's labels.

    Classes, confidence, familiarity, photo quality, backends, latencies and what people say, each held against the
    version's first weeks; contributors are the units, and all tests are corrected together. An alarm says that one file
    gave two answers to the same photo, which it never may. How many photos two versions answer differently is told.

    Exit code: 0; with --check 1 on an alarm.

    Example: `attar drift plants --run runs/plants-1 --run runs/plants-2`
    """
    from attar.deploy.collect.store import opened
    from attar.deploy.drift.drift_page import terminal, write_report
    from attar.deploy.drift.reading import observations_of
    from attar.deploy.drift.report import report
    from attar.deploy.drift.versions import versions_of
    from attar.deploy.drift.weeks import read_week
    from attar.errors import InputError

    versions = versions_of(run or ())
    chosen = [read_week(each, "--reference") for each in reference or ()]
    with opened(folder) as store:
        observations = observations_of(store)
    try:
        made = report(
            observations,
            versions=versions,
            since=since.date() if since else None,
            weeks=weeks,
            reference=chosen,
            tolerance=tolerance,
        )
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    write_report(made, output or folder / "drift", str(folder))
    show(made.to_json(), as_json, lambda: terminal(made))
    if check and made.is_alarm:
        raise typer.Exit(1)
