"""`attar doctor`: what is installed."""

from __future__ import annotations

from attar.cli.app import Json, app
from attar.cli.shown import show


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is installed here, in which version, and what each part enables.

    Example: `attar doctor`
    """
    from attar.cli.installed import examine, table

    parts = examine()
    show(parts, as_json, lambda: table(parts))
