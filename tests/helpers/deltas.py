"""Deltas by hand, also such as `attar publish` never writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence


def packed(segments: Sequence[tuple[int, int]], differences: bytes) -> bytes:
    """A delta of these segments, as (length, place in the old file)."""
    head = struct.pack(f"<{1 + 2 * len(segments)}I", len(segments), *(each for pair in segments for each in pair))
    return zlib.compress(head + differences, 9)
