"""How a photo becomes square, in the languages of the snippets: `attar.preprocessing` in words to fill in.

Each fit has its own formula, so a snippet holds the one that its model needs and no other.
"""

from __future__ import annotations

from attar.preprocessing import Preprocessing


def words(how: Preprocessing) -> dict[str, str]:
    """Word -> code: the sides of the resized photo, where the image begins on one, and the colour around it."""
    old = "OLD" if how.geometry == 1 else how.fit
    red, green, blue = how.fill
    return {
        "SIDES_PY": _PYTHON[old],
        "OFFSET_PY": _BEGINS.get(old, "round((length - SIZE) / 2)"),
        "FILL": f"({red}, {green}, {blue})",
        "SIDES_KT": _KOTLIN[how.fit],
        "SIDES_JS": _JAVASCRIPT[how.fit],
        "SIDES_SWIFT": _SWIFT[how.fit],
        "FILL_KT": f"android.graphics.Color.rgb({red}, {green}, {blue})",
        "FILL_JS": f'"rgb({red} {green} {blue})"',
        "FILL_SWIFT": f"red: {red} / 255, green: {green} / 255, blue: {blue} / 255",
        "HOW": how.in_words(),
    }


_PYTHON = {
    "crop": "[int(RESIZED * side / min(image.size)) for side in image.size]",
    "squash": "[RESIZED, RESIZED]",
    "pad": "[max(1, round(side / (max(image.size) / RESIZED))) for side in image.size]",
    "OLD": "[max(RESIZED, round(side * (RESIZED / min(image.size)))) for side in image.size]",
}
_BEGINS = {
    "OLD": "(length - SIZE) // 2",
    "pad": "-((SIZE - length) // 2) if length < SIZE else round((length - SIZE) / 2)",
}
_KOTLIN = {
    "crop": "listOf(photo.width, photo.height).map { RESIZED * it / minOf(photo.width, photo.height) }",
    "squash": "listOf(RESIZED, RESIZED)",
    "pad": "listOf(photo.width, photo.height).map { maxOf(1, RESIZED * it / maxOf(photo.width, photo.height)) }",
}
_JAVASCRIPT = {
    "crop": "[width, height].map((side) => Math.trunc((RESIZED * side) / Math.min(width, height)))",
    "squash": "[RESIZED, RESIZED]",
    "pad": "[width, height].map((side) => Math.max(1, Math.round((RESIZED * side) / Math.max(width, height))))",
}
_SWIFT = {
    "crop": "sides.map { $0 * Double(resized) / sides.min()! }",
    "squash": "[Double(resized), Double(resized)]",
    "pad": "sides.map { $0 * Double(resized) / sides.max()! }",
}
