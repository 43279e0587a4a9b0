"""`attar predict`: ask a model about photos."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.app import Json, app
from attar.cli.shown import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from attar.benchmarks.predict import Prediction


FEW = 4
"""More labels than these are not named where an answer is not sure."""


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A run, a bundle, an exports folder, or an exported file.")],
    photos: Annotated[
        list[Path], typer.Argument(help="Photos; folders of them, laid out anyhow; a CSV with a column path; shards.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Answers for each photo, at most.")] = 3,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Least probability of a sure answer; by default that of the file.", show_default=False
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Which file of an exports folder, such as litert:int8.", show_default=False)
    ] = None,
    geo: Annotated[
        Path | None,
        typer.Option(
            help="A prior of place and season (attar geo) that answers take in, where photos say where they were taken "
            "(EXIF, or columns latitude and longitude of a CSV).",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="LAT,LON[,DATE]", help="With --geo: where all photos were taken.", show_default=False),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write CSV or JSON to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Ask a model about photos, as an app that holds it would.

    A photo that cannot be read is named, and the others are answered.

    Example: `attar predict runs/attar/exports/litert-int8.tflite holiday/ --threshold 0.7`
    """
    from attar.benchmarks.predict import predict
    from attar.console import say
    from attar.errors import InputError
    from attar.files import json_text, write_text
    from attar.geo.places import place_at

    if output is not None and output.suffix not in (".csv", ".json"):
        raise InputError(f"--output {output}: name a .csv or a .json file.")
    if as_csv and as_json:
        raise InputError("Give one of --csv and --json.")
    if at and not geo:
        raise InputError("--at needs --geo, the prior that knows what is met there.")
    place = place_at(at, f"--at {at}") if at else None
    predictions = predict(model, photos, top=top, threshold=threshold, target=target, geo=geo, at=place)
    plain = [each.to_json() for each in predictions]
    for each in predictions:
        if each.problem:
            say(f"{each.photo}: not read: {each.problem}.")
    if output is not None:
        write_text(output, json_text(plain) if output.suffix == ".json" else _csv(predictions, top))
        say(f"Written: {output}")
    elif as_csv:
        sys.stdout.write(_csv(predictions, top))
    else:
        show(plain, as_json, lambda: _table(predictions))


def _csv(predictions: Sequence[Prediction], top: int) -> str:
    """One line for each photo: its best answers in order."""
    width = max((len(each.top) for each in predictions), default=top)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["photo", "sure", *(f"{name}{n}" for n in range(1, width + 1) for name in ("label", "probability"))]
    )
    for each in predictions:
        cells = [cell for label, share in each.top for cell in (label, f"{share:.6f}")]
        writer.writerow([each.photo, "" if each.problem else str(each.sure).lower(), *cells])
    return stream.getvalue()


def _unsure(prediction: Prediction, first: str) -> str:
    """What is said instead of an answer: none of the classes, a group, a few labels of which one is right, or the
    likeliest."""
    from attar.errors import in_line

    if prediction.strange:
        return f"none of its classes (unfamiliar), or {first}"
    if prediction.group:
        return f"{in_line(prediction.group[0])} {100 * prediction.group[1]:.1f}% (group)"
    few = 1 < len(prediction.among) <= FEW
    return "one of: " + ", ".join(map(in_line, prediction.among)) if few else f"unsure: {first}"


def _table(predictions: Sequence[Prediction]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from attar.errors import in_line

    table = Table(header_style="bold")
    for title in ("Photo", "Answer", "Others"):
        table.add_column(title, overflow="fold")
    for each in predictions:
        if each.problem:
            table.add_row(Text(in_line(each.photo)), Text("not read", style="red"), Text(in_line(each.problem)))
            continue
        first, *others = (f"{in_line(label)} {100 * share:.1f}%" for label, share in each.top)
        answer = Text(first) if each.sure else Text(_unsure(each, first), style="dim")
        if each.beyond:
            answer = Text.assemble(answer, f" ({', '.join(each.beyond)})")
        table.add_row(Text(in_line(each.photo)), answer, Text(", ".join(others)))
    return table
