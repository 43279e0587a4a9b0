"""An exports folder: what stands in it, what may be written to it, and its manifest kept true at every step."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attar.bundle import Bundle
from attar.data.photos import Photos, labels_of
from attar.errors import InputError
from attar.export.decision import commonness
from attar.export.formats import FORMATS
from attar.export.manifest import NAME, FailedEntry, FileEntry, Manifest, read_manifest, write_manifest
from attar.export.targets import Target, target_of
from attar.files import digest_of, remove, replacing, sha256
from attar.readiness import Readiness, of_bundle


class Folder:
    """The files of one student. What stands there is touched only when something good takes its place.

    Args:
        path: the folder, which need not exist.
        student: whose files it holds or is to hold.
        photos: what new files are verified on.
        force: whether exports of another student may be replaced.

    Raises:
        InputError: it holds another student's exports (without `force`), or somebody's other files.
    """

    def __init__(self, path: Path, student: Bundle, photos: Photos, force: bool) -> None:
        self.path = path
        self.manifest = Manifest(
            bundle={
                "path": _relative(student.path, path),
                "name": student.name,
                "fingerprint": student.fingerprint,
                "labels": list(student.labels),
                "labels_sha256": digest_of(list(student.labels)),
                "readiness": readiness_of(student, photos).to_json(),
            },
            preprocessing=student.preprocessing.to_json(),
            data={"fingerprint": photos.fingerprint, **_common(photos)},
        )
        self._others: Manifest | None = None
        if (path / NAME).is_file():
            manifest = read_manifest(path)
            if manifest.bundle["fingerprint"] == student.fingerprint:
                same = manifest.data.get("fingerprint") == photos.fingerprint
                self.manifest = replace(
                    self.manifest,
                    data={**(manifest.data if same else {}), **self.manifest.data},
                    files=manifest.files,
                    failed=manifest.failed,
                    guide=manifest.guide,
                )
            elif force:
                self._others = manifest
            else:
                raise InputError(
                    f"{path}: holds exports of another student ({manifest.bundle['name']}). "
                    "Choose another --output, or replace them with --force."
                )
        elif path.is_dir() and any(not item.name.startswith(".tmp-") for item in path.iterdir()):
            raise InputError(f"{path}: not empty, and holds no exports of attar. Choose another --output.")
        elif path.exists() and not path.is_dir():
            raise InputError(f"{path}: a file stands there. Choose another --output.")

    def has(self, target: Target, key: str | None = None) -> bool:
        """Whether a target's good file is there, unchanged, and made from what `key` stands for."""
        for entry in self.manifest.files:
            if entry.target == str(target) and key in (None, entry.key):
                file = self.path / entry.file
                return file.exists() and sha256(file) == entry.sha256
        return False

    def describe(self, **data: Any) -> None:
        """Say more in the manifest's `data`, from the next file on; None: say no more of it."""
        said = {**self.manifest.data, **data}
        self.manifest = replace(self.manifest, data={key: value for key, value in said.items() if value is not None})

    def put(self, file: Path, entry: FileEntry) -> None:
        """Move a good file in from the same disk, and list it."""
        with replacing(self.path / entry.file) as temporary:
            file.rename(temporary)
        self.write(self.manifest.with_file(entry))

    def fail(self, target: Target, error: str) -> None:
        """List a failed target; a good file of it from before stays, and stays listed."""
        if self.has(target):
            return
        if self._others is None:
            remove(self.path / target.file)
            self.write(self.manifest.with_failure(FailedEntry(str(target), error)))
        else:  # another student's exports stand until there is a file to replace them
            self.manifest = self.manifest.with_failure(FailedEntry(str(target), error))

    def write(self, manifest: Manifest) -> None:
        """Make a manifest the folder's, and remove what another student's manifest listed."""
        self.manifest = replace(manifest, files=tuple(sorted(manifest.files, key=_place)))
        write_manifest(self.manifest, self.path)
        if self._others is not None:
            theirs = {*self._others.guide, *(entry.file for entry in self._others.files)}
            for name in theirs - {entry.file for entry in self.manifest.files}:
                remove(self.path / name)
            self._others = None


def _common(photos: Photos) -> dict[str, list[float]]:
    """How common each class is, where that differs: what an app needs beside a file's decision."""
    common = commonness(np.bincount(labels_of(photos.train), minlength=len(photos.labels)))
    return {} if common is None else {"common": common.tolist()}


def readiness_of(student: Bundle, photos: Photos) -> Readiness:
    """Whether a student is fit to ship: its files can be no better."""
    labels = [photos.labels[photo.label] for photo in photos.val]
    return of_bundle(student.metrics, student.provenance, labels)


def _place(entry: FileEntry) -> tuple[int, int, int]:
    """In the order of the grammar, whichever was ready first."""
    target = target_of(entry.target)
    if target is None:
        return len(FORMATS), 0, 0
    form = FORMATS[target.format]
    options = list(form.choice.values) if form.choice else [""]
    return (
        list(FORMATS).index(target.format),
        list(form.precisions).index(target.precision),
        options.index(target.option),
    )


def _relative(path: Path, start: Path) -> str:
    """Where the bundle is, seen from the exports folder, so that a run's folder can be moved."""
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
