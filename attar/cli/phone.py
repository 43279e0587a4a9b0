"""`attar app`: an exported file as a page that answers on the phone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.app import Json, app
from attar.cli.shown import show


@app.command(name="app")
def phone(
    exports: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    target: Annotated[
        str | None,
        typer.Option(help="The file to run, such as litert:fp16; by default the fastest.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the app is called; by default the student's name.", show_default=False)
    ] = None,
    collect: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address of the `attar collect` that observations go to.", show_default=False),
    ] = None,
    releases: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Release folder (attar publish) that phones update from, absolute or relative to the page.",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --releases: who signs; that folder on this machine, or a public key. Repeatable.",
            exists=True,
            show_default=False,
        ),
    ] = None,
    geo: Annotated[
        Path | None,
        typer.Option(
            help="A prior of place and season (attar geo) for what the camera sees, and photos that name their place.",
            show_default=False,
        ),
    ] = None,
    space: Annotated[bool, typer.Option("--space", help="Add what a static Hugging Face Space needs.")] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Fetch the browser's libraries first, if they are missing (needs npm).")
    ] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Serve it afterwards, until Ctrl-C.")] = False,
    host: Annotated[str, typer.Option(help="With --serve: address; 0.0.0.0 for phones on this network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --serve; 0: any free one.")] = 0,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file: serve by HTTPS.", exists=True, show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Its private key, if in a file of its own.", exists=True, show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Write an installable page that runs the exported file itself, on the phone and without a network.

    Any static host serves the folder. Each device tests the model on photos with known answers before it uses it.

    Example: `attar app runs/attar -o site --serve`
    """
    from attar.console import say
    from attar.deploy.app.serve import serve as serve_folder
    from attar.deploy.app.site import write_site
    from attar.export.web import assets
    from attar.runfolder import exports_of

    if install:
        assets.installed()
    site = write_site(
        exports_of(exports),
        output,
        name=name,
        target=target,
        collect=collect,
        space=space,
        geo=geo,
        releases=releases,
        trust=trust or (),
    )
    for remark in site.remarks:
        say(f"Do not ship yet: {remark}")
    told = {"folder": str(site.folder), "models": list(site.models), "own": site.own, "bytes": site.total}
    size = f"{site.total / 1e6:.1f} MB, of which {site.own / 1e3:.0f} kB are attar's own"
    say(f"Written: {output}, {size}. It runs {', then '.join(site.models)}.")
    if as_json:
        show(told, True, None)
    if serve:
        serve_folder(output, host=host, port=port, certificate=certificate, key=key)
