"""Training checkpoints on disk: each whole or not there, the last few kept.

student.training.pt      the newest
student.training.pt.1    the one before, for the day the newest turns out damaged

Behind what torch writes stands its SHA-256, which is checked before anything is read. torch itself checks nothing, and
a single flipped bit would train on to other weights.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from attar.console import say
from attar.errors import InputError
from attar.files import replacing, sha256

DIGEST = 64
"""Characters of a SHA-256 in hexadecimal."""


class Checkpoints:
    """The newest `count` checkpoints of one training, at `path` and beside it.

    Args:
        path: of the newest.
        key: identity of the run; checkpoints of another one are refused.
        count: how many are kept.
    """

    def __init__(self, path: Path, key: str, count: int) -> None:
        self.path, self.key, self.count = path, key, count

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; the older ones move one place down."""
        with replacing(self.path) as temporary:
            torch.save({**state, "key": self.key}, temporary)
            _seal(temporary)
            # A second name for the newest before it is replaced: at no moment is there none.
            for place in range(self.count - 1, 0, -1):
                _take_over(_older(self.path, place - 1), _older(self.path, place))

    def newest(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, tensors on the CPU; None if there is none.

        Raises:
            InputError: all are damaged, or they belong to another run.
        """
        files = [path for place in range(self.count) if (path := _older(self.path, place)).is_file()]
        for path in files:
            try:
                _refuse_flipped(path)
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch raises anything on damaged input
                damaged = error
                continue
            if state.get("key") != self.key:
                raise InputError(
                    f"{path}: a training checkpoint of another run (other settings, photos or teacher, or an "
                    "earlier version). "
                    "Choose another output folder, or remove the file to train anew."
                )
            if path != self.path:
                say(f"{self.path}: the newest training checkpoint is damaged; continuing from the one before.")
            return state
        if files:
            raise InputError(
                f"{files[0]}: the training checkpoint is damaged ({damaged}). Remove it to train anew."
            ) from damaged
        return None


def discard(path: Path) -> None:
    """Remove the checkpoints at `path`, once what they were for is safe."""
    for older in path.parent.glob(f"{path.name}.[0-9]*"):
        older.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _seal(path: Path) -> None:
    """Append the SHA-256 of a file to it. What reads zip files does not mind."""
    digest = sha256(path)
    with path.open("ab") as stream:
        stream.write(digest.encode())


def _refuse_flipped(path: Path) -> None:
    """Raise `ValueError` unless the file ends in the SHA-256 of what comes before."""
    digest, left = hashlib.sha256(), path.stat().st_size - DIGEST
    with path.open("rb") as stream:
        while left > 0:
            block = stream.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
            if not block:
                break
        if stream.read() != digest.hexdigest().encode():
            raise ValueError("its checksum is another one, or it is from an older attar")


def _older(path: Path, place: int) -> Path:
    return path.with_name(f"{path.name}.{place}") if place else path


def _take_over(source: Path, target: Path) -> None:
    if not source.is_file():
        return
    temporary = target.with_name(f".tmp-link-{target.name}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without second names
        shutil.copyfile(source, temporary)
    temporary.replace(target)
