"""Where an inference spends its time, for a flame chart: operators by type, and by node within a type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SMALLEST = 0.004
"""Nodes with a smaller share of the inference are drawn and listed together."""
TYPES = 8
"""Types that are told apart; those with less time are one more."""
REST = "outside of operators"


@dataclass(frozen=True)
class Node:
    """One operator of the graph, or several small ones; `tenths` are tenths of a percent of the inference."""

    name: str
    milliseconds: float
    tenths: int


@dataclass(frozen=True)
class Group:
    """All operators of a type, slowest first: `count` of them, shown as `nodes`. `rest`: what no operator took."""

    name: str
    milliseconds: float
    tenths: int
    count: int
    nodes: tuple[Node, ...]
    rest: bool = False


@dataclass(frozen=True)
class FlameChart:
    """The groups of an inference, most time first and the rest last; their tenths add up to 1000.

    Attributes:
        total: milliseconds of which the shares are.
        slowed: how many times the median latency that is, where it is more than once: profiling itself takes time.
    """

    total: float
    groups: tuple[Group, ...]
    slowed: float | None


def flame_chart_of(
    operators: Sequence[dict[str, Any]], latency: float, profiled: float | None = None
) -> FlameChart | None:
    """What a flame chart shows.

    Args:
        operators: of a record, `{"name", "operator", "nanoseconds"}`.
        latency: median of one inference, milliseconds.
        profiled: all of an inference while it was profiled, where that is known: the shares are then of that.

    Returns:
        None if the operators took no time.
    """
    spent = sum(each["nanoseconds"] for each in operators) / 1e6
    if not spent > 0:
        return None
    by_type: dict[str, list[tuple[str, float]]] = {}
    for each in operators:
        by_type.setdefault(str(each["operator"]), []).append((str(each["name"]), each["nanoseconds"] / 1e6))
    ordered = sorted(by_type.items(), key=lambda pair: -sum(time for _, time in pair[1]))
    if len(ordered) > TYPES + 1:
        few = [node for _, nodes in ordered[TYPES:] for node in nodes]
        ordered = [*ordered[:TYPES], (f"{len(ordered) - TYPES} other types", few)]
    total = max(spent, latency if profiled is None else profiled)
    rest = total - spent
    *tenths, left = in_tenths([*(sum(time for _, time in nodes) for _, nodes in ordered), rest])
    groups = [_group(name, nodes, own, total) for (name, nodes), own in zip(ordered, tenths)]
    if rest > 0:
        groups.append(Group(REST, rest, left, 0, (Node(REST, rest, left),), rest=True))
    return FlameChart(total, tuple(groups), total / latency if total > latency * 1.005 else None)


def in_tenths(times: Sequence[float], whole: int = 1000) -> list[int]:
    """Shares of the sum as whole numbers that add up to `whole`: the largest remainders are rounded up."""
    total = sum(times)
    exact = [whole * time / total if total else 0.0 for time in times]
    tenths = [int(each) for each in exact]
    left = whole - sum(tenths) if total else 0
    for index in sorted(range(len(times)), key=lambda i: tenths[i] - exact[i])[:left]:
        tenths[index] += 1
    return tenths


def _group(name: str, nodes: Sequence[tuple[str, float]], tenths: int, total: float) -> Group:
    ranked = sorted(nodes, key=lambda node: -node[1])
    large = [node for node in ranked if node[1] >= SMALLEST * total]
    small = ranked[len(large) :]
    shown = ranked if len(small) < 2 else [*large, (f"{len(small)} small ones", sum(time for _, time in small))]
    shares = in_tenths([time for _, time in shown], tenths)
    parts = tuple(Node(node, time, own) for (node, time), own in zip(shown, shares))
    return Group(name, sum(time for _, time in nodes), tenths, len(nodes), parts)
