"""The manifest: which files of an exports folder are good, and how that was proven.

`manifest.json` lists a file under `files` only while it is verified; a target that failed stands under
`failed` with its error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from rich.table import Table
from rich.text import Text

from attar.errors import InputError
from attar.export.formats import FORMATS
from attar.export.targets import target_of
from attar.files import digest_of, inside, read_json, write_sealed
from attar.hierarchy import Level
from attar.readiness import Readiness

SCHEMA = 2
"""Version 1, of attar 0.1, had no checksum of itself."""
NAME = "manifest.json"
CARD, LABELS, GOLDEN, SNIPPETS = "MODEL_CARD.md", "labels.json", "golden", "snippets"
GUIDE = (CARD, LABELS, GOLDEN, SNIPPETS)
"""What explains the files (`attar.export.guide`)."""
STRICT = ConfigDict(strict=True, extra="forbid")


@with_config(STRICT)
@dataclass(frozen=True)
class FileEntry:
    """A verified file. `verification` is what `attar.export.verify.check` measured, `key` what it was made from and by.

    `min_runtime` is the oldest runtime that runs it, where the format tells: for LiteRT a version of TFLite.
    `recovery` is how `attar.export.recovery` kept integers accurate (None: it was not needed to), and `decision` what
    an app may say of its answers (`attar.export.decision`; None: attar 0.1 wrote it).
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
    decision: dict[str, Any] | None = None


@with_config(STRICT)
@dataclass(frozen=True)
class FailedEntry:
    """A target without a good file, and why."""

    target: str
    error: str


@with_config(STRICT)
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

    @property
    def readiness(self) -> Readiness:
        """What is known against shipping the student, whose answers the files repeat."""
        stored = self.bundle.get("readiness") or {}
        return Readiness(tuple(stored.get("reasons", ())), tuple(stored.get("remarks", ())))

    @property
    def common(self) -> np.ndarray | None:
        """How common each class is, float (classes,), as `attar.export.decision` takes it."""
        return np.array(self.data["common"]) if "common" in self.data else None

    @property
    def levels(self) -> tuple[Level, ...]:
        """Groups of the labels, the nearest level first; none without a hierarchy."""
        return tuple(Level.from_json(each) for each in self.data.get("hierarchy", ()))

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

    def names(self) -> set[str]:
        """Of all that lies in the folder beside manifest.json."""
        return {*self.guide, *(entry.file for entry in self.files)}


def read_manifest(folder: Path | str) -> Manifest:
    """Read an exports folder's manifest.

    Raises:
        InputError: it is missing, damaged or newer; it contradicts itself; or it names something that no export writes,
            or that lies outside the folder.
    """
    path = Path(folder) / NAME
    value = read_json(path)
    if not isinstance(value, dict) or value.get("schema") not in (1, SCHEMA):
        raise InputError(f"{path}: not a manifest of version {SCHEMA}. Export again.")
    digest = value.pop("sha256", None)
    if value["schema"] == SCHEMA and digest != digest_of(value):
        raise InputError(f"{path}: damaged or edited: its own checksum is another one. Export again.")
    try:
        manifest = TypeAdapter(Manifest).validate_json(json.dumps(value))
        _refuse_contradictions(manifest, path)
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        problems = error.errors()[:3] if isinstance(error, ValidationError) else []
        what = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems) or repr(error)
        raise InputError(f"{path}: incomplete or damaged ({what}). Export again.") from error
    return replace(manifest, schema=SCHEMA)


def _refuse_contradictions(manifest: Manifest, path: Path) -> None:
    """Hold what a manifest says in two places against each other, and its names against those that exports have."""
    labels = digest_of(manifest.bundle["labels"])
    _refuse(path, manifest.bundle["labels_sha256"] != labels, "the labels and their checksum differ")
    targets = [entry.target for entry in manifest.files] + [entry.target for entry in manifest.failed]
    _refuse(path, len(targets) > len(set(targets)), "a target is listed twice")
    for entry in manifest.files:
        inside(path.parent, entry.file, path)
        if entry.target.partition(":")[0] in FORMATS:  # of a package that is not installed here, nothing is known
            target = target_of(entry.target)
            _refuse(path, target is None, f"{entry.target} is no target")
            misnamed = target is not None and entry.file != target.file
            _refuse(path, misnamed, f"{entry.file} is no file of {entry.target}")
        _refuse(path, entry.labels_sha256 != labels, f"the labels of {entry.file} are others")
    for name in manifest.guide:
        inside(path.parent, name, path)
        _refuse(path, name not in GUIDE, f"{name} is not written by an export")


def _refuse(path: Path, wrong: bool, problem: str) -> None:
    if wrong:
        raise InputError(f"{path}: damaged or edited: {problem}. Export again.")


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write an exports folder's manifest atomically, with a checksum of itself."""
    value = manifest.to_json()
    write_sealed(folder / NAME, value)


def files_table(manifest: Manifest) -> Table:
    """For a person, 80 columns wide: every file with the largest error of a probability, and every failed target."""
    ready = manifest.readiness.ready
    title = Text(f"Exports of {manifest.bundle['name']}")
    view = Table(title=title, title_justify="left", caption=_remarks(manifest), caption_justify="left")
    for heading in ("file", "size", "agrees", "top-1", "error", "verdict"):
        view.add_column(heading, justify="left" if heading in ("file", "verdict") else "right", no_wrap=True)
    for item in manifest.files:
        about = item.verification
        verdict = "verified*" if about.get("remark") else "[green]verified[/]" if ready else "verified"
        view.add_row(
            item.file,
            f"{item.bytes / 1e6:.2f} MB",
            f"{100 * about['agreement']:.1f}%",
            f"{100 * about['top1']:.1f}%",
            f"{about['max_abs_error']:.4f}",
            verdict,
        )
    for failure in manifest.failed:
        view.add_row(failure.target, "", "", "", "", "[red]failed[/]")
    return view


def _remarks(manifest: Manifest) -> Text:
    """Below the table: what speaks against the student, and against single files."""
    ready = manifest.readiness.ready
    lines = [Text(str(manifest.readiness), style="" if ready else "bold red")] if str(manifest.readiness) else []
    lines += [
        Text(f"* {entry.target}: {remark}.") for entry in manifest.files if (remark := entry.verification.get("remark"))
    ]
    return Text("\n").join(lines)


E = TypeVar("E", bound="FileEntry | FailedEntry")


def _put(entries: Iterable[E], entry: E) -> tuple[E, ...]:
    """Replace the entry of the same target where it stands, or add it at the end."""
    kept: list[E] = list(entries)
    for i, item in enumerate(kept):
        if item.target == entry.target:
            kept[i] = entry
            return tuple(kept)
    return (*kept, entry)
