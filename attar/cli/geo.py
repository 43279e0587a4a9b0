"""`attar geo`: a prior of place and season, from observations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attar.cli.app import Json, app
from attar.cli.inputs import refuse_existing
from attar.cli.shown import show

if TYPE_CHECKING:
    from attar.geo.files import Prior

TOP = 5


@app.command()
def geo(
    observations: Annotated[
        Path, typer.Argument(help="Table of label, latitude, longitude, date; or a folder that this verb wrote.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write.", show_default=False)] = None,
    student: Annotated[
        Path | None,
        typer.Option(help="A student's bundle, whose labels count; by default the table's.", show_default=False),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="LAT,LON[,DATE]", help="Ask what is met there and then. Repeatable.", show_default=False),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and held-out places.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit a prior of place and season to observations, and say how good it is in places that it has not seen.

    Tables may be iNaturalist's and GBIF's.

    Example: `attar geo observations.csv -o runs/geo --at 48.14,11.58,2024-05-31`
    """
    from attar.errors import InputError
    from attar.geo import files

    if observations.is_dir():
        if output or student or not at:
            raise InputError(f"{observations} is a prior already. Ask it with --at, or give a table to fit another to.")
        prior = files.load(observations)
    else:
        if not output:
            raise InputError("--output: name the folder for the prior.")
        refuse_existing(output)
        for text in at or ():  # a mistake is told before anything takes time
            _where(text)
        prior = _fitted(observations, output, student, steps, seed)
    answers = [{"at": text, "labels": _likeliest(prior, text)} for text in at or ()]
    about = {"labels": len(prior.labels), "observations": int(prior.counts.sum()), **prior.metrics}
    show({**about, "answers": answers}, as_json, lambda: _table(answers) if answers else _figures(about))


def _fitted(table: Path, output: Path, student: Path | None, steps: int, seed: int) -> Prior:
    """Read, train, look at unseen places, save."""
    from attar.bundle import read_bundle
    from attar.console import say
    from attar.geo import files
    from attar.geo.fit import GeoSpec, fit_prior, told_of_unseen_places
    from attar.geo.occurrences import read_occurrences

    labels = read_bundle(student, "student").labels if student else None
    seen, spec = read_occurrences(table, labels), GeoSpec(steps=steps, seed=seed)
    for why, count in seen.left_out.items():
        say(f"Left out: {count:,} {why}")
    unseen = int((seen.counts == 0).sum())
    if unseen:
        say(f"{unseen:,} of {len(seen.labels):,} labels have no observation: where they live is not known.")
    told = told_of_unseen_places(seen, spec)
    prior = files.Prior(fit_prior(seen, spec), seen.labels, seen.counts, {"unseen_places": told})
    files.save(prior, output)
    say(_in_words(told))
    say(f"-> {output}")
    return prior


def _in_words(told: dict[str, Any]) -> str:
    """What unseen places told."""
    if "reason" in told:
        return f"How good it is where it has seen nothing is not known: {told['reason']}."
    gained = told["nats_by_frequency"] - told["nats"]
    text = (
        f"In {told['cells']} places that were held out ({told['observations']:,} observations), the label is "
        f"{math.exp(gained):.1f} times as likely as by how common labels are."
    )
    return text if gained > 0 else f"{text} So place and season tell nothing here: leave the prior out."


def _where(text: str) -> tuple[float, float, float]:
    """`LAT,LON[,DATE]` as numbers; an `InputError` that names the option if it is none."""
    from attar.errors import InputError
    from attar.geo.occurrences import day_of, place_of

    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise InputError(f"--at {text}: is not LAT,LON or LAT,LON,DATE, such as 48.14,11.58,2024-05-31.")
    place = place_of(parts[0], parts[1], f"--at {text}")
    if place is None:
        raise InputError(f"--at {text}: has no place. Give LAT,LON or LAT,LON,DATE.")
    return (*place, day_of(parts[2] if parts[2:] else "", f"--at {text}"))


def _likeliest(prior: Prior, text: str) -> list[dict[str, Any]]:
    """The labels that are met most likely, with how likely."""
    import numpy as np

    from attar.geo.fit import predict

    latitude, longitude, day = _where(text)
    [likely] = predict(prior.model, np.array([[latitude, longitude]]), np.array([day]))
    best = [number for number in np.argsort(-likely, kind="stable").tolist() if prior.counts[number]][:TOP]
    return [{"label": prior.labels[number], "prior": round(float(likely[number]), 6)} for number in best]


def _table(answers: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(header_style="bold")
    for heading in ("At", "Label", "Prior"):
        table.add_column(heading, justify="right" if heading == "Prior" else "left", overflow="fold")
    for answer in answers:
        for number, row in enumerate(answer["labels"]):
            table.add_row("" if number else answer["at"], row["label"], f"{row['prior']:.3f}")
    return table


def _figures(about: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(header_style="bold")
    for heading in ("Labels", "Observations"):
        table.add_column(heading, justify="right")
    table.add_row(f"{about['labels']:,}", f"{about['observations']:,}")
    return table
