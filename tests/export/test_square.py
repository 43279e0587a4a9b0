"""The snippets make a photo square as `attar.preprocessing` does, whatever the fit."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from attar.export import snippets
from attar.export.snippets import square
from attar.preprocessing import FITS, Preprocessing
from helpers import browser

SHAPES = ((64, 64), (97, 40), (40, 97), (331, 50), (7, 90), (33, 32))
HOWS = [Preprocessing(32, crop, fit=fit, fill=(1, 2, 3)) for fit, crop in product(FITS, (1.0, 0.9))]
OLD = Preprocessing(33, 0.9, geometry=1)


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def filled(part: str, how: Preprocessing) -> str:
    text = snippets._template(part)
    for word, value in {"FILTER": how.interpolation.upper(), **square.words(how)}.items():
        text = text.replace(f"<<{word}>>", value)
    assert "<<" not in text
    return text


@pytest.mark.parametrize("how", [*HOWS, OLD], ids=lambda how: f"{how.fit}-{how.crop}-{how.geometry}")
def test_python(tmp_path: Path, how: Preprocessing) -> None:
    space = {"Image": Image, "ImageOps": ImageOps, "np": np, "SIZE": how.size, "RESIZED": how.resized}
    exec(filled("photo.py", how), space)
    for width, height in SHAPES:
        path = tmp_path / f"{width}x{height}.png"
        photo(width, height).save(path)
        np.testing.assert_array_equal(space["pixels_of"](path), how(photo(width, height)))


@pytest.mark.parametrize("part", ["bitmap.kt", "CoreMLClassifier.swift", "canvas.js"])
def test_the_other_languages_have_a_formula_for_each_fit(part: str) -> None:
    texts = [snippets._template(part) for _ in FITS]
    for how in HOWS:
        for word, value in square.words(how).items():
            texts[FITS.index(how.fit)] = texts[FITS.index(how.fit)].replace(f"<<{word}>>", value)
    assert len(set(texts)) == len(FITS)
    assert all("SIDES" not in text and "FILL" not in text and "HOW" not in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("how", [how for how in HOWS if how.crop == 1.0], ids=lambda how: how.fit)
def test_javascript_in_a_browser(tmp_path: Path, how: Preprocessing) -> None:
    """Its filter is the browser's: what must agree is where everything is."""
    ramp = np.zeros((50, 331, 3), dtype=np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 255, 331), np.linspace(0, 255, 50)[:, None]
    Image.fromarray(ramp).save(tmp_path / "photo.png")
    code = f"const SIZE = {how.size}, RESIZED = {how.resized};\n" + filled("canvas.js", how)
    (tmp_path / "canvas.mjs").write_text(code)
    (tmp_path / "index.html").write_text(
        """<script type="module">
        window.told = (async () => {
          const { pixelsOf } = await import("./canvas.mjs");
          const photo = await createImageBitmap(await (await fetch("photo.png")).blob());
          return Array.from(pixelsOf(photo));
        })();
        </script>"""
    )
    shown = np.array(browser.told_by(tmp_path))
    away = np.abs(shown.reshape(32, 32, 3) - how(Image.fromarray(ramp)).astype(int))
    assert away.mean() < 2 and np.quantile(away, 0.95) < 10, (away.mean(), away.max())
