"""The manifest: which files of an exports folder are good, and how that was proven.

`manifest.json` lists a file under `files` only while it is verified; a target that failed stands under
`failed` with its error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from attar.errors import InputError
from attar.files import read_json, write_json

SCHEMA = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """A verified file. `verification` is what `export.verify.check` measured, `key` what it was made from and by.

    `min_runtime` is the oldest runtime that runs it, where the format tells: for LiteRT a version of TFLite.
    `recovery` is how `export.recovery` kept integers accurate (None: it was not needed to).
    """

    target: str
    file: str
    sha256: str
    bytes: int
    signature: dict[str, Any]
    labels_sha256: str
    verification: dict[str, Any]
    partitions: dict[str, Any] | None
    versions: dict[str, str | None]
    key: str = ""
    min_runtime: str | None = None
    recovery: dict[str, Any] | None = None


@dataclass(frozen=True)
class FailedEntry:
    """A target without a good file, and why."""

    target: str
    error: str


@dataclass(frozen=True)
class Manifest:
    """What stands in manifest.json. `guide` holds the SHA-256 of every file that explains the others, by name."""

    bundle: dict[str, Any]
    preprocessing: dict[str, Any]
    data: dict[str, Any]
    files: tuple[FileEntry, ...] = ()
    failed: tuple[FailedEntry, ...] = ()
    guide: dict[str, str] = field(default_factory=dict)
    schema: int = field(default=SCHEMA)

    def with_file(self, entry: FileEntry) -> Manifest:
        """The same with a good file, in place of what was known of its target."""
        return replace(
            self,
            files=_put(self.files, entry),
            failed=tuple(item for item in self.failed if item.target != entry.target),
        )

    def with_failure(self, entry: FailedEntry) -> Manifest:
        """The same with a failed target, in place of what was known of it."""
        return replace(
            self,
            files=tuple(item for item in self.files if item.target != entry.target),
            failed=_put(self.failed, entry),
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def read_manifest(folder: Path) -> Manifest:
    """Read an exports folder's manifest; a missing, damaged or newer one is an `InputError`."""
    path = Path(folder) / NAME
    value = read_json(path)
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a manifest of version {SCHEMA}. Export again.")
    try:
        files = tuple(FileEntry(**entry) for entry in value["files"])
        failed = tuple(FailedEntry(**entry) for entry in value["failed"])
        guide = dict(value.get("guide", {}))
        return Manifest(value["bundle"], value["preprocessing"], value["data"], files, failed, guide)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: incomplete or damaged ({error!r}). Export again.") from error


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write an exports folder's manifest atomically."""
    write_json(folder / NAME, manifest.to_json())


def files_table(manifest: Manifest) -> Table:
    """For a person: every target, good or failed."""
    view = Table(title=f"Exports of {manifest.bundle['name']}", title_justify="left")
    for heading in ("target", "file", "size", "agreement", "top-1", "largest error", "runtime", "verdict"):
        view.add_column(heading, justify="left" if heading in ("target", "file", "verdict") else "right")
    for item in manifest.files:
        about = item.verification
        view.add_row(
            item.target, item.file, f"{item.bytes / 1e6:.2f} MB", f"{100 * about['agreement']:.1f}%",
            f"{100 * about['top1']:.1f}%", f"{about['max_abs_error']:.4f}",
            f"≥ {item.min_runtime}" if item.min_runtime else "", "[green]verified[/]",
        )  # fmt: skip
    for failure in manifest.failed:
        view.add_row(failure.target, "", "", "", "", "", "", "[red]failed[/]")
    return view


def _put(entries: Iterable[Any], entry: Any) -> tuple[Any, ...]:
    """Replace the entry of the same target where it stands, or add it at the end."""
    kept = list(entries)
    for i, item in enumerate(kept):
        if item.target == entry.target:
            kept[i] = entry
            return tuple(kept)
    return (*kept, entry)
