"""`attar loop`: what people say becomes a better model, and a worse one is held back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from attar.cli.app import Json, Set, app
from attar.cli.run import QUICK, Quick
from attar.cli.shown import show

if TYPE_CHECKING:
    from attar.deploy.loop.state import LoopFolder, Settings

KEPT = "as before"

RESET = {
    "least": "least",
    "unreviewed": "unreviewed",
    "unlabelled": "unlabelled",
    "new-class": "new_class",
    "share": "share",
    "teacher": "teacher",
    "set": "sets",
    "target": "targets",
    "margin": "margin",
    "primary": "primary",
    "max-flips": "max_flips",
    "calibration-error": "calibration_error",
    "pinned": "pinned",
    "slices": "slices",
    "seconds": "seconds",
}
"""Options that `--reset` names -> settings. What a loop is about has no default, and what was withdrawn stays so."""


@app.command()
def loop(
    folder: Annotated[Path, typer.Argument(help="The loop's folder; made at the first call.")],
    run: Annotated[Path | None, typer.Option(help="The run to begin with.", show_default=KEPT)] = None,
    observations: Annotated[
        Path | None, typer.Option(help="Folder that `attar collect` keeps.", show_default=KEPT)
    ] = None,
    releases: Annotated[Path | None, typer.Option(help="The release folder.", show_default=KEPT)] = None,
    key: Annotated[Path | None, typer.Option(help="The private key that signs.", show_default=KEPT)] = None,
    least: Annotated[int | None, typer.Option(min=1, help="New observations that a round needs.")] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="ID", help="As of `attar retrain`. Repeatable.")] = None,
    unreviewed: Annotated[
        bool | None, typer.Option("--unreviewed/--only-reviewed", help="As of `attar retrain`.")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="As of `attar retrain`; --only-reviewed ends it.")
    ] = False,
    new_class: Annotated[int | None, typer.Option(min=2, help="As of `attar retrain`.")] = None,
    share: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="As of `attar retrain`.")] = None,
    teacher: Annotated[Literal["auto", "keep", "refit"] | None, typer.Option(help="As of `attar retrain`.")] = None,
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="As of `attar gate`. Repeatable.")] = None,
    margin: Annotated[float | None, typer.Option(min=0, max=50, help="As of `attar gate`, in points.")] = None,
    primary: Annotated[str | None, typer.Option(metavar="TARGET", help="As of `attar gate`.")] = None,
    max_flips: Annotated[float | None, typer.Option(min=0, max=100, help="As of `attar gate`, per cent.")] = None,
    calibration_error: Annotated[
        float | None, typer.Option(min=0, max=100, help="As of `attar gate`, in points.")
    ] = None,
    pinned: Annotated[Path | None, typer.Option(help="As of `attar gate`.")] = None,
    slices: Annotated[Path | None, typer.Option(help="As of `attar gate`.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="As of `attar gate`.")] = None,
    reset: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="Give an option its default again, such as set or max-flips. Repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    summary: Annotated[
        Path | None, typer.Option(help="File that gets what was done as Markdown, at its end.", show_default=False)
    ] = None,
    workflow: Annotated[
        Literal["github"] | None,
        typer.Option(help="Write a workflow that takes the turns into this repository, and do nothing else."),
    ] = None,
    quick: Quick = False,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """One turn: retrain on new observations, ask the gate, and publish what is better.

    The first call names everything; later ones need the folder alone. It does nothing where there is too little new, so
    cron may call it every night. Interrupted, the same command goes on.

    Exit code: 0 published or nothing to do, 1 held back.

    Example: `attar loop plants-loop --run runs/plants-1 --observations plants --releases www/models --key plants.pem`
    """
    from attar.cli.retrain import lines_of, train_on
    from attar.console import say
    from attar.deploy.loop.page import summary as markdown
    from attar.deploy.loop.state import LoopFolder, Outcome
    from attar.deploy.loop.turn import turn

    place = LoopFolder(folder.resolve())  # cron has a folder of its own
    sets = [*(QUICK if quick else []), *(overrides or [])]
    given = {
        "run": run,
        "observations": observations,
        "releases": releases,
        "key": key,
        "least": least,
        "without": tuple(without) if without else None,
        **_unreviewed(unreviewed, unlabelled),
        "new_class": new_class,
        "share": share,
        "teacher": teacher,
        "sets": tuple(sets) if sets else None,
        "targets": tuple(target) if target else None,
        "margin": None if margin is None else margin / 100,
        "primary": primary,
        "max_flips": None if max_flips is None else max_flips / 100,
        "calibration_error": None if calibration_error is None else calibration_error / 100,
        "pinned": pinned,
        "slices": slices,
        "seconds": seconds,
    }
    if workflow:
        _write_workflow(place, given, reset or ())
        return
    done = turn(place, _settings(place, given, reset or ()), train_on, dry_run=dry_run)
    if done.plan is not None and dry_run:
        for line in lines_of(done.plan):
            say(line)
    told = {
        "sentence": done.sentence,
        "round": _plain(done.round) if done.round else None,
        "rounds": len(done.state.rounds),
    }
    show(told, as_json, None)
    say(done.sentence)
    if summary is not None and not dry_run:
        _append(summary, markdown(place, done.sentence, done.round.number if done.round else None))
    if done.round is not None:
        say(f"Round {done.round.number}: {place.page}")
        if done.round.outcome is not Outcome.SHIPPED:
            raise typer.Exit(1)


def _write_workflow(place: LoopFolder, given: dict[str, Any], reset: Sequence[str]) -> None:
    from attar.console import say
    from attar.deploy.loop.workflow import write_workflow
    from attar.errors import InputError

    if reset or any(value is not None for value in given.values()):
        raise InputError("--workflow: it takes the settings that the loop has. Change them in a call without it.")
    repository = Path.cwd()
    if not (repository / ".git").exists():
        raise InputError(f"{repository}: not the top of a Git repository. Change to the one that runs the workflow.")
    say(
        f"Written: {write_workflow(place, repository)}. Commit it, and see docs/loop.md for the runner and the secrets."
    )


def _append(path: Path, text: str) -> None:
    from attar.files import writing

    with writing(path), path.open("a", encoding="utf-8") as stream:
        stream.write(text)


def _unreviewed(unreviewed: bool | None, unlabelled: bool) -> dict[str, bool | None]:
    """What becomes of what nobody has reviewed: one of the two settings ends the other."""
    from attar.errors import InputError

    if unreviewed is not None and unlabelled:
        other = "--unreviewed" if unreviewed else "--only-reviewed"
        raise InputError(f"--unlabelled and {other}: give one.")
    if unlabelled:
        return {"unreviewed": False, "unlabelled": True}
    return {"unreviewed": unreviewed, "unlabelled": None if unreviewed is None else False}


def _settings(place: LoopFolder, given: dict[str, Any], reset: Sequence[str] = ()) -> Settings:
    """What was given, else what it was before unless it is reset, else the default; paths from the root on, since cron
    has a folder of its own."""
    from dataclasses import asdict

    from attar.deploy.loop.state import Settings
    from attar.errors import InputError, did_you_mean

    before = place.read()
    values = asdict(before.settings) if before else {}
    for name in reset:
        if name not in RESET:
            raise InputError(f"--reset {name}: no option that has a default.{did_you_mean(name, RESET)}")
        values.pop(RESET[name], None)
    if given["without"]:  # what was withdrawn stays so
        given = {**given, "without": tuple(sorted({*given["without"], *values.get("without", ())}))}
    values |= {
        name: str(value.resolve()) if isinstance(value, Path) else value
        for name, value in given.items()
        if value is not None
    }
    missing = [name for name in ("run", "observations", "releases", "key") if name not in values]
    if missing:
        raise InputError(f"{place.path}: no loop yet, so it needs {' and '.join(f'--{name}' for name in missing)}.")
    return Settings(**values)


def _plain(round: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(round), "outcome": round.outcome.value}
