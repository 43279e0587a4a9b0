"""What bounds a file's latency: arithmetic, memory, or neither (the roofline of Williams et al., CACM 52(4), 2009).

The multiply-adds of a file at the machine's best rate, and its bytes at the rate of copying as many, are two times that
no runtime here could go below by much. Where the measured latency is near the larger of the two, that is what to spend
less of. Where it is far above both, the time goes elsewhere: into many small operators, or into kernels, such as
depthwise convolutions, that do not come near the best rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from attar.benchmarks.latency.peak import Rates, copy_rate, rates
from attar.benchmarks.latency.record import Record
from attar.benchmarks.latency.work import Operator, work_of
from attar.benchmarks.units import megabytes, milliseconds, percent

NEAR = 0.5
"""Share of the latency that the larger of the two times has to explain to be called what bounds it."""
_COPIED = (1 << 16, 1 << 26)
"""Smallest and largest working set that copying is measured with, bytes."""


@dataclass(frozen=True)
class Floor:
    """Two times that bound a file's latency from below, and what the latency is.

    Attributes:
        target: the file's.
        macs, bytes: of one inference.
        compute, memory: milliseconds at the best rates.
        latency: median, milliseconds.
    """

    target: str
    macs: int
    bytes: int
    compute: float
    memory: float
    latency: float

    @property
    def share(self) -> float:
        """Share of the latency that the larger of the two times explains."""
        return max(self.compute, self.memory) / self.latency

    @property
    def bound(self) -> Literal["compute", "memory", "overhead"]:
        """What the file spends its time on."""
        if self.share < NEAR:
            return "overhead"
        return "compute" if self.compute >= self.memory else "memory"

    def __str__(self) -> str:
        why = {"compute": "arithmetic", "memory": "memory", "overhead": "neither: small operators or slow kernels"}
        return (
            f"{self.target}: {self.macs / 1e6:,.0f} M multiply-adds take at least {milliseconds(self.compute)} here, "
            f"{megabytes(self.bytes)} of memory traffic {milliseconds(self.memory)}; the larger explains "
            f"{percent(min(1.0, self.share))} of its latency. Its bound is {why[self.bound]}"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "target": self.target,
            "macs": self.macs,
            "bytes": self.bytes,
            "compute": self.compute,
            "memory": self.memory,
            "latency": self.latency,
            "share": self.share,
            "bound": self.bound,
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Floor:
        """Read back what `to_json` wrote."""
        return Floor(**{each.name: value[each.name] for each in fields(Floor)})


def floors_of(records: Iterable[Record]) -> list[Floor]:
    """Those that records have, as `bench` writes them."""
    return [Floor.from_json(each.conditions["floor"]) for each in records if each.conditions.get("floor")]


def floor_of(target: str, path: Path, threads: int, latency: float) -> Floor | None:
    """What bounds a LiteRT file of this machine with a median latency, milliseconds; None for other formats."""
    if not target.startswith("litert:"):
        return None
    return floor(target, work_of(path), rates(threads), latency)


def floor(target: str, operators: list[Operator], best: Rates, latency: float) -> Floor:
    """The two times of a file's operators at given rates."""
    compute = sum(each.macs / (best.int8_macs if each.integer else best.float_macs) for each in operators)
    moved = sum(each.bytes for each in operators)
    working_set = min(max(moved, _COPIED[0]), _COPIED[1])
    return Floor(
        target,
        sum(each.macs for each in operators),
        moved,
        1e3 * compute,
        1e3 * moved / copy_rate(working_set),
        latency,
    )
