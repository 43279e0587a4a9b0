"""What a file answers on a phone, against what it answered here.

A delegate computes in its own way: a GPU in half precision, an NNAPI driver however it likes. So the photos of the
exports' golden vectors are put through `benchmark_model` too, and its answers held against those of golden.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.data.images import open_image
from attar.files import read_json


@dataclass(frozen=True)
class Golden:
    """Photos as the files take them, uint8 [N, H, W, 3], and what each file answered: float32 [N, classes]."""

    pixels: np.ndarray
    answers: dict[str, np.ndarray]

    def expected(self, entry: Any) -> np.ndarray | None:
        """What this very file answered; None where it is not told."""
        return self.answers.get(entry.sha256)


def read_golden(exports: Path) -> Golden | None:
    """The golden vectors beside exported files; None where there are none."""
    folder = exports / "golden"
    if not (folder / "golden.json").is_file():
        return None
    golden = read_json(folder / "golden.json")
    photos = [np.asarray(open_image(folder / image["file"]), np.uint8) for image in golden["images"]]
    answers = {each["sha256"]: np.asarray(each["probabilities"], np.float32) for each in golden["files"].values()}
    return Golden(np.stack(photos), answers) if photos else None


def agreement(raw: Sequence[bytes], expected: np.ndarray) -> dict[str, Any] | None:
    """Answers as float32 bytes, one each photo, against the expected ones; None where they are not such answers."""
    size = expected.shape[1]
    if len(raw) != len(expected) or any(len(answer) != 4 * size for answer in raw):
        return None
    answers = np.stack([np.frombuffer(answer, "<f4") for answer in raw])
    if not np.isfinite(answers).all():
        return {"images": len(raw), "max_error": None, "top1": 0.0}
    same = answers.argmax(1) == expected.argmax(1)
    return {"images": len(raw), "max_error": float(np.abs(answers - expected).max()), "top1": float(same.mean())}
