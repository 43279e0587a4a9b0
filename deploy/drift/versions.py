"""Versions of a model: a file's SHA-256, and what its exports folder says of it where that is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.errors import InputError
from attar.export.manifest import read_manifest
from attar.runfolder import exports_of

SHORT = 8
"""Digits of a SHA-256 that a person reads."""


@dataclass(frozen=True)
class Version:
    """A model's file.

    Attributes:
        sha256: of the file.
        name: the run and the target, such as `plants-1 litert:int8`; the short hash where nothing is known of it.
        sure: the confidence from which on its answers are sure, if that is known.
        familiar: the familiarity below which a photo is of something else, if that is known.
        quality: the range of its training photos (`attar.quality.range_of`), if it is known.
    """

    sha256: str
    name: str
    sure: float | None = None
    familiar: float | None = None
    quality: Mapping[str, Any] | None = None


def unknown(sha256: str) -> Version:
    """A version of which only the hash is known."""
    return Version(sha256, sha256[:SHORT])


def versions_of(runs: Iterable[Path]) -> dict[str, Version]:
    """The files of runs or exports folders, by their SHA-256.

    Raises:
        InputError: a folder has no manifest, or a damaged one.
    """
    versions: dict[str, Version] = {}
    for run in runs:
        folder = exports_of(run)
        manifest = read_manifest(folder)
        place = folder.resolve()
        name = place.parent.name if place.name == "exports" else place.name
        for entry in manifest.files:
            decision = entry.decision or {}
            versions.setdefault(
                entry.sha256,
                Version(
                    entry.sha256,
                    f"{name} {entry.target}",
                    (decision.get("sure") or {}).get("threshold"),
                    (decision.get("familiar") or {}).get("threshold"),
                    manifest.data.get("quality"),
                ),
            )
        if not manifest.files:
            raise InputError(f"{folder}: no verified file is listed. Make the files with `attar export`.")
    return versions
