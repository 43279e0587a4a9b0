"""The teacher's answers, stored once: a folder of memory-mapped shards, one a view.

    cache.json         whose answers to what: teacher, photos, view policy; SHA-256 of every shard
    view-00003.npy     float16 logits (training photos, classes) for view 3 of every photo

Any other teacher, data or policy is an error that names the difference; nothing is ever silently
stale. A shard appears whole or not at all, so an interrupted build continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from attar.errors import InputError
from attar.files import read_json, replacing, sha256, write_json

SCHEMA = 1


class TeacherCache:
    """Teacher logits by view and photo number.

    Args:
        folder: where the shards are or will be.
        teacher: fingerprint of the teacher's bundle.
        data: fingerprint of the photos.
        views: fingerprint of the view policy.
        shape: (training photos, classes).

    Raises:
        InputError: the folder holds answers of another teacher, to other photos or views, or is damaged.
    """

    def __init__(self, folder: Path, *, teacher: str, data: str, views: str, shape: tuple[int, int]) -> None:
        self.folder = folder
        self._index = folder / "cache.json"
        self.shape = shape
        self._about = {"schema": SCHEMA, "teacher": teacher, "data": data, "views": views, "shape": list(shape)}
        self._shards: dict[str, str] = {}
        self._open: dict[int, np.ndarray] = {}
        if self._index.is_file():
            self._shards = self._checked(read_json(self._index))

    @property
    def bytes_per_view(self) -> int:
        """Size of one view's shard."""
        return 2 * self.shape[0] * self.shape[1]

    def missing(self, views: Iterable[int]) -> list[int]:
        """Which of `views` are not stored yet."""
        return [view for view in views if str(view) not in self._shards]

    def add(self, view: int, logits: np.ndarray) -> None:
        """Store the logits (photos, classes) of one view."""
        shard = self._shard(view)
        with replacing(shard) as temporary, temporary.open("wb") as stream:
            np.save(stream, logits.astype(np.float16))
        with FileLock(self.folder / ".lock"):  # other processes add other views
            others = self._checked(read_json(self._index)) if self._index.is_file() else {}
            self._shards = {**others, **self._shards, str(view): sha256(shard)}
            write_json(self._index, {**self._about, "shards": self._shards})

    def logits(self, view: int, index: np.ndarray) -> np.ndarray:
        """Stored logits of some photos' view -> float32 (len(index), classes)."""
        if view not in self._open:
            shard = self._shard(view)
            if not shard.is_file() or sha256(shard) != self._shards.get(str(view)):
                raise InputError(f"{shard}: missing or damaged. Remove {self.folder} to build the teacher cache again.")
            self._open[view] = np.load(shard, mmap_mode="r", allow_pickle=False)
        return self._open[view][index].astype(np.float32)

    def build(self, views: Iterable[int], compute: Callable[[int], np.ndarray]) -> None:
        """Compute and store every view that is missing."""
        for view in self.missing(views):
            self.add(view, compute(view))

    def _shard(self, view: int) -> Path:
        return self.folder / f"view-{view:05d}.npy"

    def _checked(self, found: dict[str, Any]) -> dict[str, str]:
        names = {
            "schema": "schema version",
            "teacher": "teacher",
            "data": "photos",
            "views": "view policy",
            "shape": "size",
        }
        for key, name in names.items():
            if found.get(key) != self._about[key]:
                raise InputError(
                    f"{self.folder}: a teacher cache with another {name} ({found.get(key)}, not {self._about[key]}). "
                    "Choose another folder, or remove this one to build it again."
                )
        return dict(found["shards"])
