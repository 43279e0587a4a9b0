"""The app's icons: a leaf of two arcs on a plain ground, drawn for each size that phones ask for."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

GROUND, LEAF, VEIN = (31, 111, 80), (238, 246, 241), (31, 111, 80)
SIZES = {"icon-192.png": (192, 0.72), "icon-512.png": (512, 0.72), "maskable-512.png": (512, 0.56)}
"""Name -> pixels, and the share of them that the leaf takes: systems cut a maskable icon to a circle of 80%."""
APPLE = ("apple-touch-icon.png", 180)


def icons() -> dict[str, bytes]:
    """File name -> PNG."""
    drawn = {name: _icon(side, share) for name, (side, share) in SIZES.items()}
    return {**drawn, APPLE[0]: _icon(APPLE[1], 0.66)}


def _icon(side: int, share: float) -> bytes:
    big = 4 * side  # drawn larger, then made smaller: Pillow's shapes have no smooth edges
    image = Image.new("RGB", (big, big), GROUND)
    pen = ImageDraw.Draw(image)
    leaf = Image.new("L", (big, big))
    # Where two discs overlap.
    radius, offset = 0.62 * share * big, 0.36 * share * big
    for mask, sign in ((leaf, -1), (other := Image.new("L", (big, big)), 1)):
        x, y = big / 2 + sign * offset, big / 2
        ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    both = Image.composite(leaf, Image.new("L", (big, big)), other).rotate(-35)
    image.paste(LEAF, mask=both)
    length = 0.34 * share * big
    pen.line(
        (big / 2 - 0.55 * length, big / 2 + length, big / 2 + 0.45 * length, big / 2 - 0.7 * length), VEIN, big // 48
    )
    stream = io.BytesIO()
    image.resize((side, side), Image.Resampling.LANCZOS).save(stream, "PNG", optimize=True)
    return stream.getvalue()
