"""What a release folder has, as plain data and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from attar.benchmarks.units import megabytes, percent
from attar.deploy.release.folder import POINTER, Delta, Pointer, Release, keys_of
from attar.deploy.release.prune import Pruned

if TYPE_CHECKING:
    from rich.table import Table


def releases_json(pointer: Pointer, releases: Mapping[str, Release]) -> dict[str, Any]:
    """As plain data."""
    return {
        "app": pointer.app,
        "number": pointer.number,
        "made": pointer.made,
        "keys": _ids(pointer),
        "channels": {
            name: {
                "release": pointer.channels[name].release,
                "share": pointer.channels[name].share,
                "model": asdict(release.model),
                "targets": {target: each.file for target, each in release.targets.items()},
                "bytes": _bytes(release),
                "deltas": [
                    {"file": each, "from": delta.old, "bytes": delta.file.bytes} for each, delta in _deltas(release)
                ],
            }
            for name, release in releases.items()
        },
    }


def releases_table(pointer: Pointer, releases: Mapping[str, Release]) -> Table:
    """For a terminal."""
    from rich.table import Table
    from rich.text import Text

    from attar.errors import in_line

    about = f"{in_line(pointer.app)}, number {pointer.number}, {pointer.made}. Trusted keys: {', '.join(_ids(pointer))}"
    view = Table(header_style="bold", caption=Text(about), caption_justify="left")
    for title in ("Channel", "Phones", "Model", "Files", "Size", "Deltas"):
        view.add_column(title, overflow="fold", justify="right" if title in ("Phones", "Size") else "left")
    for name, release in releases.items():
        share = percent(pointer.channels[name].share) if name != "stable" else "the others"
        size = megabytes(_bytes(release))
        deltas = ", ".join(f"{each} {megabytes(delta.file.bytes)}" for each, delta in _deltas(release))
        texts = (name, share, release.model.name, ", ".join(release.targets), size, deltas)
        view.add_row(*(Text(in_line(text)) for text in texts))
    return view


def pruned_json(made: Pruned, dry_run: bool) -> dict[str, Any]:
    """As plain data."""
    return {"dry_run": dry_run, **asdict(made)}


def pruned_words(made: Pruned, dry_run: bool) -> str:
    """In a sentence."""
    if not made.files:
        return "No content is old enough to be removed."
    what = f"{len(made.files):,} contents, {megabytes(made.bytes)}"
    return (
        f"{'Would remove' if dry_run else 'Removed'} {what}. {len(made.releases):,} more releases "
        f"{'would lack' if dry_run else 'lack'} contents{'' if dry_run else ' now'}."
    )


def _bytes(release: Release) -> int:
    """What it takes without deltas: files of the same content are stored once."""
    return sum({file.sha256: file.bytes for file in release.contents}.values())


def _deltas(release: Release) -> list[tuple[str, Delta]]:
    """Each delta with the name of the file that it makes, without its folder."""
    names = {file.sha256: PurePath(file.name).name for file in release.contents}
    return [(names[each.new], each) for each in release.deltas]


def _ids(pointer: Pointer) -> list[str]:
    return [key.id for key in keys_of(pointer, Path(POINTER))]
