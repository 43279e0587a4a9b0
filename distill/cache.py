"""The teacher's outputs, stored once: a folder of memory-mapped shards, one per view and kind of output.

    cache.json             whose outputs for what: teacher, photos, view policy; SHA-256 of every shard
    view-00003.npy         float16 logits (training photos, classes) for view 3 of every photo
    view-00003.feature_map.npy float16 (training photos, D, h, w) of another kind, if a loss needs it

Of many classes only the most probable are stored (`attar.distill.topk_logits`).

Any other teacher, data or policy is an error that names the difference; nothing is ever silently
stale. A shard appears whole or not at all, so an interrupted build continues where it stopped; a kind
that a later student needs is added beside the others.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from attar.console import say
from attar.distill.topk_logits import MANY, TopK, choose
from attar.errors import GateError, InputError
from attar.files import make_folder, read_object, read_sealed, replacing, sha256, write_sealed

SCHEMA = 2
LOGITS = "logits"


class TeacherCache:
    """Teacher outputs by view, kind and photo number.

    Args:
        folder: where the shards are or will be.
        teacher: fingerprint of the teacher's bundle.
        data: fingerprint of the photos.
        views: fingerprint of the view policy.
        shape: (training photos, classes).

    Attributes:
        shapes: the shape of one photo's output, by kind, as far as it is known.
        packing: how logits are packed; None: all of them are stored.

    Raises:
        InputError: the folder holds outputs of another teacher, to other photos or views, or is damaged.
    """

    def __init__(self, folder: Path, *, teacher: str, data: str, views: str, shape: tuple[int, int]) -> None:
        self.folder = folder
        self._index = folder / "cache.json"
        self.shape = shape
        self.shapes: dict[str, tuple[int, ...]] = {LOGITS: shape[1:]}
        self.packing: TopK | None = None
        self._about = {"schema": SCHEMA, "teacher": teacher, "data": data, "views": views, "shape": list(shape)}
        self._shards: dict[str, str] = {}
        self._open: dict[str, np.ndarray] = {}
        if self._index.is_file():
            self._read(self._described())

    def missing(self, views: Iterable[int], kinds: Sequence[str] = (LOGITS,)) -> list[int]:
        """Which of `views` are not stored yet, or lack one of `kinds`."""
        return [view for view in views if self._lacking(view, kinds)]

    def bytes_to_build(self, views: Iterable[int], kinds: Sequence[str] = (LOGITS,)) -> int:
        """Size of what is missing; every kind's shape must be known (`expect`)."""
        per_photo = {kind: self._dtype(kind).itemsize * math.prod(self._stored(kind)) for kind in kinds}
        return self.shape[0] * sum(per_photo[kind] for view in views for kind in self._lacking(view, kinds))

    @property
    def begun(self) -> bool:
        """Whether anything is stored, and so the packing settled."""
        return bool(self._shards)

    def pack(self, sample: np.ndarray, temperature: float) -> None:
        """Settle how logits are stored, by a sample of them, float (N, classes); before anything is."""
        self.packing = choose(sample, temperature) if self.shape[1] > MANY else None
        if self.packing:
            say(
                f"Teacher cache: the {self.packing.k} most probable of {self.shape[1]:,} classes and the mass of the "
                f"rest, which differ from all by {self.packing.divergence:.1g} nats at temperature {temperature:g}"
            )

    def serve(self, temperature: float) -> None:
        """Raise `InputError` if logits are packed for lower temperatures than this."""
        if self.packing and temperature > self.packing.temperature:
            raise InputError(
                f"{self.folder}: stores the {self.packing.k} most probable classes, enough for losses up to "
                f"temperature {self.packing.temperature:g}; this one has {temperature:g}. Choose another "
                "folder, or a lower temperature."
            )

    def expect(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Say what the teacher's outputs look like; an `InputError` if those stored look otherwise."""
        for kind, shape in shapes.items():
            if self.shapes.setdefault(kind, shape) != shape:
                raise self._other(f"{kind} shape", self.shapes[kind], shape)

    def outputs(
        self, view: int | np.ndarray, index: np.ndarray, kinds: Sequence[str] = (LOGITS,)
    ) -> dict[str, np.ndarray]:
        """Stored outputs for some photos' view, one for all or each its own, by kind -> float32 (len(index), ...)."""
        views, rows = np.unique(view, return_inverse=True)
        if len(views) == 1:
            return {kind: self._read_out(kind, self._shard(int(views[0]), kind)[index]) for kind in kinds}
        parts = [self.outputs(own, index[rows == number], kinds) for number, own in enumerate(views.tolist())]
        back = np.argsort(np.argsort(rows, kind="stable"))
        return {kind: np.concatenate([part[kind] for part in parts])[back] for kind in kinds}

    def logits(self, view: int, index: np.ndarray) -> np.ndarray:
        """Stored logits of some photos' view -> float32 (len(index), classes)."""
        return self.outputs(view, index)[LOGITS]

    def build(
        self,
        views: Iterable[int],
        compute: Callable[[int], Iterable[Mapping[str, np.ndarray]]],
        kinds: Sequence[str] = (LOGITS,),
    ) -> None:
        """Compute and store what is missing, after saying how large it will be.

        Args:
            views: the views that are needed.
            compute: view -> batches of outputs, by kind, photos in order.
            kinds: the kinds that are needed.

        Raises:
            InputError: the disk has no room for it.
            GateError: an output is not a finite float16.
        """
        missing = self.missing(views, kinds)
        if not missing:
            return
        self._require_room(missing, kinds)
        for view in missing:
            self._store(view, compute(view), self._lacking(view, kinds))

    def _require_room(self, views: Sequence[int], kinds: Sequence[str]) -> None:
        make_folder(self.folder)
        needed, free = self.bytes_to_build(views, kinds), shutil.disk_usage(self.folder).free
        what = f"{len(views)} views of {self.shape[0]} photos ({', '.join(kinds)}): {_in_words(needed)}"
        if needed > free:
            raise InputError(
                f"{self.folder}: the teacher cache needs {what}, and its disk has {_in_words(free)} left. Free some "
                "space, choose another folder, fewer views (views.count) or losses that need only logits."
            )
        say(f"Teacher cache: {what}")

    def _store(self, view: int, batches: Iterable[Mapping[str, np.ndarray]], kinds: Sequence[str]) -> None:
        """Write one view batch by batch: a feature map of every photo need not fit into memory."""
        with ExitStack() as stack:
            places = {kind: stack.enter_context(replacing(self._path(view, kind))) for kind in kinds}
            shards = {
                kind: np.lib.format.open_memmap(
                    place, mode="w+", dtype=self._dtype(kind), shape=(self.shape[0], *self._stored(kind))
                )
                for kind, place in places.items()
            }
            done = 0
            for batch in batches:
                for kind, shard in shards.items():
                    with np.errstate(over="ignore"):  # found below
                        half = batch[kind].astype(np.float16)
                    if not np.isfinite(half).all():
                        raise GateError(
                            f"{self.folder}: the teacher's {kind} for view {view} of photos {done} to "
                            f"{done + len(half) - 1} are not finite in half precision. The teacher has diverged, or "
                            "its outputs are too large; fit it again with a smaller learning rate."
                        )
                    packing = self.packing if kind == LOGITS else None
                    shard[done : done + len(half)] = packing.pack(batch[kind]) if packing else half
                done += len(half)
            if done != self.shape[0]:
                raise ValueError(f"outputs for {done} photos, not {self.shape[0]}")
            for shard in shards.values():
                shard.flush()
        stored = {self._path(view, kind).name: sha256(self._path(view, kind)) for kind in kinds}
        with FileLock(self.folder / ".lock"):  # other processes may add other views
            if self._index.is_file():
                self._read(self._described())
            self._shards |= stored
            shapes = {kind: list(shape) for kind, shape in self.shapes.items()}
            packed = {"top_k": asdict(self.packing)} if self.packing else {}
            write_sealed(self._index, {**self._about, **packed, "kinds": shapes, "shards": self._shards})

    def _shard(self, view: int, kind: str) -> np.ndarray:
        path = self._path(view, kind)
        if path.name not in self._open:
            if not path.is_file() or sha256(path) != self._shards.get(path.name):
                raise InputError(f"{path}: missing or damaged. Remove {self.folder} to build the teacher cache again.")
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
            if (shard.dtype, shard.shape) != (self._dtype(kind), (self.shape[0], *self._stored(kind))):
                raise self._damaged(f"{path.name} holds {shard.dtype} {shard.shape}")
            self._open[path.name] = shard
        return self._open[path.name]

    def _dtype(self, kind: str) -> np.dtype:
        return self.packing.dtype if kind == LOGITS and self.packing else np.dtype(np.float16)

    def _stored(self, kind: str) -> tuple[int, ...]:
        """The shape of one photo's stored output."""
        return () if kind == LOGITS and self.packing else self.shapes[kind]

    def _read_out(self, kind: str, stored: np.ndarray) -> np.ndarray:
        return self.packing.unpack(stored) if kind == LOGITS and self.packing else stored.astype(np.float32)

    def _lacking(self, view: int, kinds: Sequence[str]) -> list[str]:
        return [kind for kind in kinds if self._path(view, kind).name not in self._shards]

    def _path(self, view: int, kind: str) -> Path:
        return self.folder / (f"view-{view:05d}.npy" if kind == LOGITS else f"view-{view:05d}.{kind}.npy")

    def _described(self) -> dict[str, Any]:
        if (schema := read_object(self._index).get("schema")) != SCHEMA:  # attar 0.1's, which had no checksum
            raise self._other("schema version", schema, SCHEMA)
        try:
            return read_sealed(self._index)
        except InputError as error:
            raise InputError(f"{error} Remove {self.folder} to build the teacher cache again.") from None

    def _damaged(self, what: str) -> InputError:
        return InputError(f"{self.folder}: damaged ({what}). Remove it to build the teacher cache again.")

    def _read(self, stored: dict[str, Any]) -> None:
        names = {
            "schema": "schema version",
            "teacher": "teacher",
            "data": "photos",
            "views": "view policy",
            "shape": "size",
        }
        for key, name in names.items():
            if stored.get(key) != self._about[key]:
                raise self._other(name, stored.get(key), self._about[key])
        try:
            self.shapes |= {kind: tuple(shape) for kind, shape in stored["kinds"].items()}
            self.packing = TopK(**stored["top_k"]) if "top_k" in stored else None
            self._shards = dict(stored["shards"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(repr(error)) from error

    def _other(self, name: str, stored: object, wanted: object) -> InputError:
        return InputError(
            f"{self.folder}: a teacher cache with another {name} ({stored}, not {wanted}). "
            "Choose another folder, or remove this one to build it again."
        )


def _in_words(size: float) -> str:
    """Bytes for a person."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
