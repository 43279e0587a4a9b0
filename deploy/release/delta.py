"""What a file needs to become a later one, for phones that have it.

A model that was trained on has the same layout and slightly other weights. In an integer file most of them differ by
little or nothing, so the differences compress well (`python -m attar.benchmarks.studies.deltas`). A delta is one zlib
stream, which browsers decode without a library:

    4 bytes          how many segments there are, little-endian, as all numbers here
    8 bytes each     of a segment: its length, and where in the old file it is taken from
    the rest         new - old, byte by byte modulo 256; behind the old file's end, old is 0

The segments follow one another and make up the new file. There are several because files shift: a longer text, or a
class more, moves all that lies behind it.

A delta says nothing of its files: who applies one holds the result against the SHA-256 that is expected.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SEGMENTS = 4096
"""A page reads no more."""

_BLOCK = 256
"""Bytes that are moved together."""

_WINDOW = 8
"""Bytes that, where they are the same and stand once in each file, tell how far a place has moved."""

_SAMPLED = 1_000_000
"""Bytes from which on a sixteenth of the windows is looked at: the others would take gigabytes."""

_MOST_MOVES = 32

_CLEARLY = 0.8
"""A block moves otherwise than the one before if that leaves less than this share of the difference."""


class Unfit(Exception):
    """A delta that is none, or is of other files."""


def delta_of(old: bytes, new: bytes) -> bytes:
    """The delta from one content to another."""
    before, after = (np.frombuffer(each, np.uint8) for each in (old, new))
    segments = _segments(before, after)
    head = np.array([len(segments), *(number for segment in segments for number in segment)], "<u4")
    body = head.tobytes() + (after - _taken(before, segments)).tobytes()
    # Many small, random numbers: level 9 takes thirty times as long as 6 for a point of the file's size.
    stream = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_FILTERED)
    return stream.compress(body) + stream.flush()


def applied(old: bytes, delta: bytes, size: int) -> bytes:
    """The content of `size` bytes that a delta makes of `old`; whether it is the right one, its SHA-256 says.

    Raises:
        Unfit: it is damaged, or makes another number of bytes. No more than these are decompressed.
    """
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(delta, 4 + 8 * MOST_SEGMENTS + size + 1)
    except zlib.error as error:
        raise Unfit(str(error)) from None
    if not stream.eof or stream.unused_data or len(body) < 4:
        raise Unfit("not one whole stream")
    count = int.from_bytes(body[:4], "little")
    start = 4 + 8 * count
    if count > MOST_SEGMENTS or len(body) != start + size:
        raise Unfit("of another length")
    segments = [(length, place) for length, place in np.frombuffer(body, "<u4", 2 * count, 4).reshape(-1, 2).tolist()]
    if sum(length for length, _ in segments) != size:
        raise Unfit("its segments are of another length")
    return (np.frombuffer(body, np.uint8, size, start) + _taken(np.frombuffer(old, np.uint8), segments)).tobytes()


def _taken(old: NDArray[np.uint8], segments: list[tuple[int, int]]) -> NDArray[np.uint8]:
    """What the segments take from the old file, with zeros behind its end."""
    parts = []
    for length, place in segments:
        part = old[place : place + length]
        parts.append(np.pad(part, (0, length - len(part))))
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _segments(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """(length, place in the old file) of each segment, so that little differs."""
    blocks = -(-len(new) // _BLOCK)
    moves = _moves(old, new)
    costs = np.stack([_costs(old, new, move) for move in moves])
    best = costs.argmin(0)
    chosen = np.zeros(blocks, int)
    now = 0
    changes = 0
    for block in range(blocks):
        if costs[best[block], block] < _CLEARLY * costs[now, block] and changes < MOST_SEGMENTS // 2 - 1:
            now, changes = int(best[block]), changes + 1
        chosen[block] = now
    starts = [0, *(np.flatnonzero(np.diff(chosen)) + 1).tolist()] if blocks else []
    found: list[tuple[int, int]] = []
    for first, end in zip(starts, [*starts[1:], blocks]):
        start = first * _BLOCK
        place = start - moves[chosen[first]]
        length = min(end * _BLOCK, len(new)) - start
        if place < 0:  # nothing lies before the old file
            found.append((min(length, -place), len(old)))
            start, length, place = start - place, length + place, 0
        if length > 0:
            found.append((length, place))
    return found


def _moves(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> list[int]:
    """How far parts of the old file may have moved: not at all, to the end, and the likeliest others."""
    before, after = _landmarks(old), _landmarks(new)
    _, here, there = np.intersect1d(before[0], after[0], assume_unique=True, return_indices=True)
    found, counts = np.unique(after[1][there] - before[1][here], return_counts=True)
    likeliest = found[np.argsort(-counts, kind="stable")][:_MOST_MOVES].tolist()
    return list(dict.fromkeys([0, len(new) - len(old), *likeliest]))


def _landmarks(content: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The windows that stand in a file once, as numbers, and where."""
    if len(content) < _WINDOW:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(content, _WINDOW)
    numbers = np.ascontiguousarray(windows).view("<u8")[:, 0]
    starts = np.arange(len(numbers))
    if len(content) > _SAMPLED:  # the same windows in both files, by what is in them
        starts = np.flatnonzero((numbers * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(60) == 0)
        numbers = numbers[starts]
    values, places, counts = np.unique(numbers, return_index=True, return_counts=True)
    return values[counts == 1], starts[places[counts == 1]]


def _costs(old: NDArray[np.uint8], new: NDArray[np.uint8], move: int) -> NDArray[np.int64]:
    """Of each block the sum of the differences if the old file is moved so far."""
    shifted = np.zeros(len(new), np.uint8)
    start, end = max(0, move), min(len(new), len(old) + move)
    if start < end:
        shifted[start:end] = old[start - move : end - move]
    sizes = np.abs((new - shifted).view(np.int8).astype(np.int16))  # -128 has no opposite in a byte
    whole = np.pad(sizes, (0, -len(new) % _BLOCK)).reshape(-1, _BLOCK)
    return whole.sum(1, dtype=np.int64)
