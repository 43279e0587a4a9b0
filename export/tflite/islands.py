"""Which operators of a float .tflite file stay float among integers, because XNNPACK has no integer kernels for them.

Each of them would split the file, and LiteRT's own integer kernels round their parts to 1/256: a norm's variances, the
divisor of an attention (where a divisor that rounds to zero fails the file). XNNPACK has nearly all of them in float,
with the conversions before and after, so a file with such an island stays in one piece.
"""

from __future__ import annotations

from typing import Any

from attar.export.tflite.layers import kind_of

WITHOUT = frozenset(
    "ABS DIV EXP GELU LOG MAXIMUM MINIMUM NEG POW RSQRT SIGN SIN COS SQRT SQUARE SQUARED_DIFFERENCE".split()  # noqa: SIM905
)
"""Operators that XNNPACK takes in no integer file; all but a few, POW among them, it takes in float."""

BETWEEN = frozenset(["ADD", "MEAN", "MUL", "RESHAPE", "SUB", "SUM", "TRANSPOSE"])
"""Operators that join an island that they lie beside: as float they cost less than the conversions would."""


def islands(model: Any) -> list[int]:
    """Numbers of the operators that stay float, in order; empty where integers have kernels for all.

    `WITHOUT` and products of two activations, those of `BETWEEN` that take something from an island, and those that
    only islands take from.
    """
    graph = model.subgraphs[0]
    kinds = [kind_of(model, operator) for operator in graph.operators]
    maker = {int(output): number for number, operator in enumerate(graph.operators) for output in operator.outputs}
    makers = [[maker[int(each)] for each in operator.inputs if int(each) in maker] for operator in graph.operators]
    takers: list[list[int]] = [[] for _ in kinds]
    for number, sources in enumerate(makers):
        for source in sources:
            takers[source].append(number)
    found = {
        number
        for number, kind in enumerate(kinds)
        if kind in WITHOUT or (kind == "BATCH_MATMUL" and len(makers[number]) == 2)
    }
    grows = bool(found)
    while grows:
        joining = {
            number
            for number, kind in enumerate(kinds)
            if kind in BETWEEN
            and number not in found
            and (
                any(source in found for source in makers[number]) or ({*takers[number]} and {*takers[number]} <= found)
            )
        }
        found |= joining
        grows = bool(joining)
    return sorted(found)
