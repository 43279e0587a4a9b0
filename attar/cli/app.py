"""The application, and the options that several verbs share.

Each verb reads a bundle or a folder, writes one, and prints JSON with `--json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass

app = typer.Typer(
    help="Distil a large vision teacher into a phone-sized student, export it, prove it, measure it.",
    epilog="Add `--debug` to a command to see where an error came from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)

RecipeFile = Annotated[
    Path | None, typer.Argument(help="Recipe (YAML). Without one, the defaults.", show_default=False)
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="PHOTOS",
        help="A folder of class/photo.jpg, a CSV of path,label, tar shards or parquet files, also at s3://...",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a recipe key, such as student.epochs=20. Repeatable.", show_default=False),
]
Duplicates = Annotated[
    bool, typer.Option("--allow-duplicates", help="Keep copies of photos in both splits, and photos of two labels.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of first weights, dropout and order.", show_default=False)]
MaxMs = Annotated[float | None, typer.Option(min=0, help="Median latency a file may have, ms.", show_default=False)]
MaxMb = Annotated[float | None, typer.Option(min=0, help="Size a file may have, MB.", show_default=False)]
MinTop1 = Annotated[float | None, typer.Option(min=0, max=100, help="Top-1 a file needs, percent.", show_default=False)]
History = Annotated[Path | None, typer.Option(help="SQLite file that measurements are added to.", show_default=False)]
Tag = Annotated[str | None, typer.Option(help="A name for this run in the history.", show_default=False)]
Against = Annotated[str | None, typer.Option(help="Tag of the runs to compare with.", show_default=False)]
FailIf = Annotated[
    list[str] | None, typer.Option(help="Fail on `p50 > 1.10x baseline`, beyond noise. Repeatable.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
