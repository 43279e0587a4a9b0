"""`attar sample`: an exported file as a small project for Android Studio or Xcode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.app import Json, app
from attar.cli.shown import show


@app.command()
def sample(
    exports: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    platform: Annotated[str, typer.Option(help="android or ios.")] = "android",
    name: Annotated[
        str | None, typer.Option(help="What the app is called; by default the student's name.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a project that runs an exported file with the camera: Kotlin with LiteRT, or Swift with Core ML.

    Its test asks the file about golden photos on the phone.

    Example: `attar sample runs/attar -o android --platform android`
    """
    from attar.console import say
    from attar.deploy.sample.write import write_sample
    from attar.runfolder import exports_of

    entry = write_sample(exports_of(exports), output, platform, name)
    say(f"Written: {output}. It runs {entry.file}; README.md there says what was compiled, and what never was.")
    if as_json:
        show({"folder": str(output), "platform": platform, "file": entry.file}, True, None)
