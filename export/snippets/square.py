"""How a photo becomes square, in the languages of the snippets: `attar.preprocessing` in words to fill in.

Each fit has its own formula, so a snippet holds the one that its model needs and no other. The resize is Pillow's own
arithmetic (its resampling in 8 bits: `Resample.c`), so that a phone's pixels are those of the report.
"""

from __future__ import annotations

from typing import Any

from attar.preprocessing import Preprocessing


def words(how: Preprocessing) -> dict[str, str]:
    """Word -> code: the sides of the resized photo, where the image begins on one, the filter, the colour around it."""
    fit = "OLD" if how.geometry == 1 else how.fit
    begins = fit if fit in ("OLD", "pad") else "else"
    colour = ", ".join(map(str, how.fill))
    return {
        "SIDES_PY": _PYTHON[fit],
        "SIDES_KT": _KOTLIN[fit],
        "SIDES_JS": _JAVASCRIPT[fit],
        "SIDES_SWIFT": _SWIFT[fit],
        "OFFSET_PY": _BEGINS["PY"][begins],
        "OFFSET_KT": _BEGINS["KT"][begins],
        "OFFSET_JS": _BEGINS["JS"][begins],
        "OFFSET_SWIFT": _BEGINS["SWIFT"][begins],
        "FILTER_JS": _filter(how.interpolation, ";", "if (x < {}) "),
        "FILTER_KT": _filter(how.interpolation, "", "if (x < {}) "),
        "FILTER_SWIFT": _filter(how.interpolation, "", "if x < {} {{ ", " }}"),
        "REACH": {"bilinear": "1.0", "bicubic": "2.0"}[how.interpolation],
        "FILL": f"({colour})",
        "FILL_NUMBERS": colour,
        "HOW": how.in_words(),
    }


def parameters(how: Preprocessing) -> dict[str, Any]:
    """A preprocessing as the data that `square_module`'s code takes."""
    return {
        "size": how.size,
        "resized": how.resized,
        "fit": "old" if how.geometry == 1 else how.fit,
        "interpolation": how.interpolation,
        "fill": list(how.fill),
    }


def _filter(name: str, end: str, condition: str, close: str = "") -> str:
    """The body of the filter's function of x, at least 0: the triangle, or Keys' cubic with a = -0.5."""
    pieces = {
        "bilinear": [("1.0", "1.0 - x")],
        "bicubic": [("1.0", "(1.5 * x - 2.5) * x * x + 1.0"), ("2.0", "(((x - 5.0) * x + 8.0) * x - 4.0) * -0.5")],
    }[name]
    lines = [f"{condition.format(limit)}return {value}{end}{close.format()}" for limit, value in pieces]
    return "\n".join(f"    {line}" for line in [*lines, f"return 0.0{end}"])


_PYTHON = {
    "crop": "[int(RESIZED * side / min(image.size)) for side in image.size]",
    "squash": "[RESIZED, RESIZED]",
    "pad": "[max(1, round(side / (max(image.size) / RESIZED))) for side in image.size]",
    "OLD": "[max(RESIZED, round(side * (RESIZED / min(image.size)))) for side in image.size]",
}
_KOTLIN = {
    "crop": "listOf(width, height).map { RESIZED * it / minOf(width, height) }",
    "squash": "listOf(RESIZED, RESIZED)",
    "pad": "listOf(width, height).map {\n"
    "        maxOf(1, Math.rint(it / (maxOf(width, height).toDouble() / RESIZED)).toInt())\n    }",
    "OLD": "listOf(width, height).map {\n"
    "        maxOf(RESIZED, Math.rint(it * (RESIZED.toDouble() / minOf(width, height))).toInt())\n    }",
}
_JAVASCRIPT = {
    "crop": "[width, height].map((side) => Math.trunc((RESIZED * side) / Math.min(width, height)))",
    "squash": "[RESIZED, RESIZED]",
    "pad": "[width, height].map((side) => Math.max(1, rint(side / (Math.max(width, height) / RESIZED))))",
    "OLD": "[width, height].map((side) => Math.max(RESIZED, rint(side * (RESIZED / Math.min(width, height)))))",
}
_SWIFT = {
    "crop": "[width, height].map { side * $0 / min(width, height) }",
    "squash": "[side, side]",
    "pad": "[width, height].map {\n        max(1, Int((Double($0) / (Double(max(width, height)) / Double(side)))"
    ".rounded(.toNearestOrEven)))\n    }",
    "OLD": "[width, height].map {\n        max(side, Int((Double($0) * (Double(side) / Double(min(width, height))))"
    ".rounded(.toNearestOrEven)))\n    }",
}
_BEGINS = {
    "PY": {
        "OLD": "(length - SIZE) // 2",
        "pad": "-((SIZE - length) // 2) if length < SIZE else round((length - SIZE) / 2)",
        "else": "round((length - SIZE) / 2)",
    },
    "JS": {
        "OLD": "Math.floor((length - SIZE) / 2)",
        "pad": "length < SIZE ? -Math.floor((SIZE - length) / 2) : rint((length - SIZE) / 2)",
        "else": "rint((length - SIZE) / 2)",
    },
    "KT": {
        "OLD": "(length - SIZE) / 2",
        "pad": "\n    if (length < SIZE) -((SIZE - length) / 2) else Math.rint((length - SIZE) / 2.0).toInt()",
        "else": "Math.rint((length - SIZE) / 2.0).toInt()",
    },
    "SWIFT": {
        "OLD": "(length - size) / 2",
        "pad": "length < size ? -((size - length) / 2) : Int((Double(length - size) / 2).rounded(.toNearestOrEven))",
        "else": "Int((Double(length - size) / 2).rounded(.toNearestOrEven))",
    },
}


def _chosen(by: str, choices: dict[str, str]) -> str:
    """JavaScript that is worth what one of the choices is worth; an unknown one throws."""
    cases = ", ".join(f"{name}: () => {value}" for name, value in choices.items())
    return f"({{ {cases} }})[{by}]()"


GENERAL_JS = {
    "HOW": "as `how` says",
    "SIDES_JS": _chosen("how.fit", {name.lower(): code for name, code in _JAVASCRIPT.items()}),
    "OFFSET_JS": _chosen(
        "how.fit", {name.lower(): _BEGINS["JS"].get(name, _BEGINS["JS"]["else"]) for name in _JAVASCRIPT}
    ),
    "FILTER_JS": '  if (how.interpolation === "bilinear") {\n'
    + _filter("bilinear", ";", "if (x < {}) ")
    + "\n  }\n"
    + _filter("bicubic", ";", "if (x < {}) "),
    "REACH": _chosen("how.interpolation", {"bilinear": "1.0", "bicubic": "2.0"}),
    "FILL_NUMBERS": "...how.fill",
}
"""Word -> JavaScript for any preprocessing."""
