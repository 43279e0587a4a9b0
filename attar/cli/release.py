"""`attar gate`: whether a new model's files may take the place of the ones that phones have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.app import Data, Json, app
from attar.cli.inputs import photos_of_bundle, student_of
from attar.cli.shown import show


@app.command()
def gate(
    champion: Annotated[Path, typer.Argument(help="What phones have: a run, an exports folder or one exported file.")],
    challenger: Annotated[Path, typer.Argument(help="What may take its place, likewise.")],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Such as litert:int8. Repeatable.", show_default="all the champion has"),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Points of top-1 that the challenger may lose. 0: it has to be better.", min=0)
    ] = 0.0,
    detect: Annotated[
        float, typer.Option(help="Points that the photos should be enough to see; they are told if not.", min=0.01)
    ] = 2.0,
    max_flips: Annotated[
        float | None,
        typer.Option(help="Per cent of the photos that may be right before and wrong now.", show_default="any"),
    ] = None,
    max_larger: Annotated[float, typer.Option(help="Times the champion's bytes that a file may have.", min=0)] = 1.1,
    max_slower: Annotated[float, typer.Option(help="Times the champion's latency on this machine.", min=0)] = 1.1,
    slices: Annotated[
        Path | None, typer.Option(help="CSV of photo,slice: groups that must not get worse.", show_default=False)
    ] = None,
    pinned: Annotated[
        Path | None, typer.Option(help="Text file, a photo per line: these must stay right.", show_default=False)
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Counts how often photos have decided.", show_default="gate-ledger.jsonl beside the runs"),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Time to measure the latency of each pair of files. 0: not measured.", min=0)
    ] = 5.0,
    bundle: Annotated[
        Path | None, typer.Option(help="The challenger's student, if it was moved.", show_default=False)
    ] = None,
    data: Data = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for gate.html, .md and .json.", show_default="gate/ in the run"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Whether a challenger's exported files may replace the champion's, by the same validation photos.

    Each file has to be better beyond chance, must lose no class or slice, and break no pinned photo; it is held to
    limits of size and latency, and to what it promises of its answers. Photos that were right and are now wrong are
    named. A ledger counts the looks at the photos, so that many rounds promote no model by luck.

    Exit code: 0 ship, 1 hold.

    Example: `attar gate runs/plants-1 runs/plants-2`
    """
    from attar.deploy.release.gate import gate as decide
    from attar.deploy.release.gate_page import terminal, write_gate
    from attar.deploy.release.verdict import Limits
    from attar.export.formats import format_of
    from attar.runfolder import exports_of

    before, now = (path if format_of(path) is not None else exports_of(path) for path in (champion, challenger))
    folder = now.resolve() if format_of(now) is None else now.resolve().parent
    photos = photos_of_bundle(student_of(folder, bundle), data)
    made = decide(
        before,
        now,
        photos,
        ledger=ledger or folder.parent.parent / "gate-ledger.jsonl",
        targets=target or (),
        limits=Limits(
            margin / 100, detect / 100, None if max_flips is None else max_flips / 100, max_larger, max_slower
        ),
        slices=slices,
        pinned=pinned,
        seconds=seconds,
    )
    write_gate(made, output or folder.parent / "gate")
    show(made.to_json(), as_json, lambda: terminal(made))
    if not made.ship:
        raise typer.Exit(1)
