"""What the verbs show: JSON, tables that fit the terminal, and messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attar.export.manifest import Manifest
    from attar.geo.files import Prior


def show(value: Any, as_json: bool, table: Any) -> None:
    """A result: as JSON on stdout, or as the table that `table` makes, in the first rank."""
    from attar.train.distributed import is_first

    if as_json and is_first():
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        # Bytes of a file's name that are no text are printed as JSON escapes them: \udce9.
        print(text.encode("utf-8", "backslashreplace").decode())
    elif not as_json and table is not None:
        show_table(table())


def show_table(table: Any) -> None:
    """A table that fits the terminal, in the first rank."""
    from rich.console import Console

    from attar.train.distributed import is_first

    if is_first():
        console = Console(highlight=False)
        _fold(console, table)
        console.print(table)


def _fold(console: Any, made: Any) -> None:
    """Let the cells of a table that is too wide take several lines: rich would cut them to `litert…`."""
    columns = getattr(made, "columns", ())
    if columns and console.measure(made, options=console.options.update(max_width=1000)).maximum > console.width:
        for column in columns:
            column.no_wrap, column.overflow = False, "fold"


def show_bundle(bundle: Any, as_json: bool) -> None:
    """A model that was made: its metrics, and in words how its training went."""
    from attar import readiness
    from attar.console import say

    metrics = {key: value for key, value in bundle.metrics.items() if key != "history"}
    taught = (bundle.provenance.get("teacher") or {}).get("metrics")
    about = {"path": str(bundle.path), "kind": bundle.kind, "name": bundle.name, "metrics": metrics}
    about["data"] = bundle.provenance.get("data")
    show({**about, "readiness": readiness.judged(metrics, taught).to_json()}, as_json, None)
    say(readiness.message(bundle.kind.capitalize(), bundle.name, metrics, taught))
    say(f"-> {bundle.path}")


def show_manifest(manifest: Manifest, folder: Path, as_json: bool) -> None:
    """The files of an exports folder."""
    from attar.console import say
    from attar.export.manifest import files_table

    show(manifest.to_json(), as_json, lambda: files_table(manifest))
    say(f"Files: {folder}")


def show_prior_files(prior: Prior, as_json: bool) -> None:
    """The verified files of a prior of place and season."""
    from dataclasses import asdict

    def table() -> Any:
        from rich.table import Table

        view = Table(header_style="bold")
        for heading in ("file", "size", "places", "error", "verdict"):
            view.add_column(heading, justify="left" if heading in ("file", "verdict") else "right")
        for each in prior.files:
            told = each.verification
            error = f"{told['max_abs_error']:.4f}"
            view.add_row(each.file, f"{each.bytes / 1e3:.0f} kB", f"{told['places']:,}", error, "[green]verified[/]")
        return view

    show([asdict(each) for each in prior.files], as_json, table)
