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
    from attar.geo.places import Place

TOP = 5


@app.command()
def geo(
    observations: Annotated[
        Path,
        typer.Argument(
            help="Table of label, latitude, longitude, date; a folder of labelled photos with places in EXIF; or a "
            "folder that this verb wrote."
        ),
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
    export: Annotated[
        list[str] | None,
        typer.Option(metavar="FORMAT", help="Write a file: litert, onnx, coreml, all. Repeatable.", show_default=False),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="With --photos: a model of the same labels, such as a run.", show_default=False)
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Labelled photos with places (EXIF, or columns latitude and longitude of a CSV) that the model was "
            "not trained on: how much the prior counts is fitted on them.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and held-out places.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit a prior of place and season to observations, and say how good it is in places that it has not seen.

    Tables may be iNaturalist's and GBIF's.

    Example: `attar geo observations.csv -o runs/geo --export all`
    """
    from attar.errors import InputError
    from attar.geo import files
    from attar.geo.places import place_at

    asked = {text: place_at(text, f"--at {text}") for text in at or ()}  # a mistake is told before anything takes time
    if files.is_prior(observations):
        if output or student or model or photos or not (at or export):
            raise InputError(
                f"{observations} is a prior already. Ask it with --at, write its files with --export, or give a table "
                "to fit another to."
            )
        output = observations
        prior = files.load(observations)
    else:
        if not output:
            raise InputError("--output: name the folder for the prior.")
        if (model is None) != (photos is None):
            raise InputError("--model and --photos go together: the model's answers about the photos.")
        refuse_existing(output)
        if export:  # a format that there is not, or whose package is missing, is told before anything takes time
            from attar.export.geo_files import chosen

            chosen(export)
        prior = _fitted(observations, output, student, (model, photos) if model and photos else None, steps, seed)
    if export:
        from attar.export.geo_files import export_prior

        prior = export_prior(output, export)
    answers = [{"at": text, "labels": _likeliest(prior, place)} for text, place in asked.items()]
    about = {"labels": len(prior.labels), "observations": int(prior.counts.sum()), **prior.metrics}
    about |= {"combination": {**prior.combination.to_json(), "fitted": prior.fitted}}
    about |= {"files": [each.file for each in prior.files]}
    show({**about, "answers": answers}, as_json, lambda: _table(answers) if answers else _figures(about))


def _fitted(
    table: Path, output: Path, student: Path | None, asked: tuple[Path, Path] | None, steps: int, seed: int
) -> Prior:
    """Read, train, look at unseen places, save."""
    from attar.bundle import read_bundle
    from attar.console import say
    from attar.errors import InputError
    from attar.geo import files
    from attar.geo.combine import gain_in_words
    from attar.geo.fit import GeoSpec, fit_prior, told_of_unseen_places
    from attar.geo.gain import fit_combination, hold_out, refuse_few
    from attar.geo.occurrences import read_occurrences
    from attar.geo.places import occurrences_in

    labels = read_bundle(student, "student").labels if student else None
    if asked:
        from attar.benchmarks.places import answers_with_places
        from attar.benchmarks.predict import open_model

        opened = open_model(asked[0])
        if labels not in (None, opened.labels):
            raise InputError(
                f"--model {asked[0]}: has other labels than --student {student}. One of the two is enough."
            )
        labels = opened.labels
    seen = occurrences_in(table, labels) if table.is_dir() else read_occurrences(table, labels)
    spec = GeoSpec(steps=steps, seed=seed)
    for why, count in seen.left_out.items():
        say(f"Left out: {count:,} {why}")
    unseen = int((seen.counts == 0).sum())
    if unseen:
        say(f"{unseen:,} of {len(seen.labels):,} labels have no observation: where they live is not known.")
    held, how, gained = None, files.Combination(), None
    answered = answers_with_places(opened, asked[1]) if asked else None
    if answered:
        refuse_few(answered)  # before anything takes time
    told = told_of_unseen_places(seen, spec)
    if answered:
        held = hold_out(seen, spec)
        how, gained = fit_combination(held, seen.counts > 0, answered)
    prior = files.Prior(fit_prior(seen, spec), seen.labels, seen.counts, {"unseen_places": told}, how, gained)
    files.save(prior, output, held)
    say(_in_words(told))
    if gained:
        say(f"{gain_in_words(gained)} Floor {how.floor:g}, weight {how.weight:g}.")
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


def _likeliest(prior: Prior, place: Place) -> list[dict[str, Any]]:
    """The labels that are met most likely, with how likely."""
    import numpy as np

    from attar.geo.fit import predict

    [likely] = predict(prior.model, np.array([[place.latitude, place.longitude]]), np.array([place.day]))
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
