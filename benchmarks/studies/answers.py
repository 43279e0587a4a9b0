"""Which photos the models of a study answer rightly, kept in a file: with it a study goes on on another machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from attar.benchmarks.latency.host import describe
from attar.data.photos import Photos
from attar.files import read_json, write_json


class Answers:
    """Which validation photos models answer rightly, in a file, so that a study can go on on another machine.

    Attributes:
        photos: what is answered, once a model has to.
    """

    def __init__(self, path: Path) -> None:
        self.photos: Photos | None = None
        self._path, self._lock = path, Lock()
        self._rows: dict[str, Any] = read_json(path) if path.is_file() else {}

    def has(self, name: str, key: str) -> bool:
        """Whether the answers of a model are there that was made as the key says."""
        return bool(self._rows.get(name, {}).get("key") == key)

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def right(self, name: str) -> np.ndarray:
        """Whether a model is right, 0.0 or 1.0 for each photo."""
        row = self._rows[name]
        bits = np.frombuffer(bytes.fromhex(row["right"]), np.uint8)
        return np.unpackbits(bits, count=row["photos"]).astype(float)

    def about(self, names: Sequence[str], key: str) -> list[Any]:
        """What is said of some models, without what they share."""
        return sorted({self._rows[name][key] for name in names})

    def put(self, name: str, key: str, right: np.ndarray, **about: Any) -> None:
        """Keep a model's answers."""
        with self._lock:
            bits = np.packbits(right.astype(bool)).tobytes().hex()
            self._rows[name] = {"key": key, "cpu": describe()["cpu"], **about, "photos": len(right), "right": bits}
            write_json(self._path, dict(sorted(self._rows.items())))
