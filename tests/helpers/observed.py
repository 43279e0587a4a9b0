"""Photos and what people say about them, made up."""

from __future__ import annotations

import hashlib
import io
from typing import Any
from uuid import uuid4

from PIL import Image


def jpeg(number: int, side: int = 8) -> bytes:
    """A photo of one colour: of 343, far enough from each other to be different photos in JPEG too."""
    stream = io.BytesIO()
    color = (number % 7 * 40, number // 7 % 7 * 40, number // 49 % 7 * 40)
    Image.new("RGB", (side, side), color).save(stream, "JPEG")
    return stream.getvalue()


def observation_of(photo: bytes, **changes: Any) -> dict[str, Any]:
    """A new observation of it, as plain data."""
    plain = {
        "id": str(uuid4()),
        "image": hashlib.sha256(photo).hexdigest(),
        "time": "2026-05-01T12:00:00Z",
        "predicted": "ash",
        "probability": 0.5,
        "model": "0" * 64,
        "verdict": "confirmed",
    }
    return {**plain, **changes}
