"""The snippets make a photo square as `attar.preprocessing` does, whatever the fit."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from attar.data.color import PRIMARIES, matrix_profile
from attar.data.images import read_rgb
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
    for word, nested in snippets.PARTS.items():
        text = text.replace(f"<<{word}>>\n", snippets._template(nested))
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


@pytest.mark.parametrize("part", ["square.kt", "square.swift", "square.js"])
def test_the_other_languages_have_a_formula_for_each_fit(part: str) -> None:
    assert len({filled(part, how).replace(how.in_words(), "") for how in HOWS}) == len(FITS)


# --- the languages that run here, against Pillow -------------------------------------------------

FILTERS = ("bilinear", "bicubic")
RECIPES = [*(replace(how, interpolation=name) for how in HOWS for name in FILTERS), OLD]
"""Every formula; a program of each language has them all, by number."""

JAVASCRIPT = """
import { createInterface } from "node:readline";
const modules = [];
for (let i = 0; i < Number(process.argv[2]); i++) modules.push(await import(`./square-${i}.mjs`));
const { squaring } = await import("./square.mjs");
for (const how of JSON.parse(process.argv[3])) modules.push({ squareOf: squaring(how) });
for await (const line of createInterface({ input: process.stdin })) {
  const [number, width, height, channels, hex] = JSON.parse(line);
  const pixels = Uint8Array.from(Buffer.from(hex, "hex"));
  console.log(Buffer.from(modules[number].squareOf(pixels, width, height, channels)).toString("hex"));
}
"""
KOTLIN = """
fun main() {
    while (true) {
        val words = (readLine() ?: break).split(" ")
        val (number, width, height) = words.map { it.toIntOrNull() ?: 0 }
        val rgb = words[3].chunked(6).map { it.toInt(16) }
        val row = { y: Int, into: IntArray -> for (x in 0 until width) into[x] = rgb[y * width + x] }
        val square = when (number) {
            CASES
            else -> error("no such recipe")
        }
        println(square.joinToString("") { "%02x".format(it.toInt() and 255) })
    }
}
"""


class Program:
    """A program that squares one photo a line. Numbers from `len(RECIPES)` on are those of the module for all."""

    def __init__(self, command: list[str], folder: Path, line: Callable[[int, np.ndarray], str]) -> None:
        self._line = line
        self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, number: int, pixels: np.ndarray) -> np.ndarray:
        """RECIPES[number] of a photo (H, W, channels)."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(self._line(number, pixels) + "\n")
        self._process.stdin.flush()
        size = RECIPES[number % len(RECIPES)].size
        return np.frombuffer(bytes.fromhex(self._process.stdout.readline().strip()), np.uint8).reshape(size, size, 3)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        assert self._process.wait() == 0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("node")
    for number, how in enumerate(RECIPES):
        sizes = f"const SIZE = {how.size}, RESIZED = {how.resized};\n"
        (folder / f"square-{number}.mjs").write_text(sizes + filled("square.js", how))
    (folder / "square.mjs").write_text(snippets.square_module())
    (folder / "main.mjs").write_text(JAVASCRIPT)
    told = json.dumps([square.parameters(how) for how in RECIPES])

    def line(number: int, pixels: np.ndarray) -> str:
        return json.dumps([number, pixels.shape[1], pixels.shape[0], pixels.shape[2], pixels.tobytes().hex()])

    program = Program(["node", "main.mjs", str(len(RECIPES)), told], folder, line)
    yield program
    program.close()


@pytest.fixture(scope="module")
def kotlin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    if not shutil.which("kotlinc"):
        pytest.skip("no kotlinc is installed")
    folder = tmp_path_factory.mktemp("kotlin")
    files, cases = [], []
    for number, how in enumerate(RECIPES):
        sizes = f"private const val SIZE = {how.size}\nprivate const val RESIZED = {how.resized}\n"
        files.append(folder / f"Square{number}.kt")
        files[-1].write_text(f"package recipe{number}\n\n{sizes}{filled('square.kt', how)}")
        cases.append(f"{number} -> recipe{number}.squareOf(width, height, row)")
    files.append(folder / "Main.kt")
    files[-1].write_text(KOTLIN.replace("CASES", "\n            ".join(cases)))
    command = ["kotlinc", *map(str, files), "-include-runtime", "-d", "main.jar"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)

    def line(number: int, pixels: np.ndarray) -> str:
        return f"{number} {pixels.shape[1]} {pixels.shape[0]} {pixels[..., :3].tobytes().hex()}"

    program = Program(["java", "-cp", "main.jar", "MainKt"], folder, line)
    yield program
    program.close()


NUMBERS = st.integers(0, len(RECIPES) - 1)
SHAPES_OF_PHOTOS = st.tuples(st.integers(1, 90), st.integers(1, 90), st.sampled_from([3, 4]))
PHOTOS = SHAPES_OF_PHOTOS.flatmap(lambda shape: arrays(np.uint8, shape))
NOISE = st.builds(
    lambda shape, seed: np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), SHAPES_OF_PHOTOS,
    st.integers(0, 1 << 32),
)  # fmt: skip
MANY = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(number=NUMBERS, pixels=st.one_of(PHOTOS, NOISE))
def test_javascript_squares_a_photo_bit_for_bit(node: Program, number: int, pixels: np.ndarray) -> None:
    wanted = RECIPES[number](Image.fromarray(np.ascontiguousarray(pixels[..., :3])))
    np.testing.assert_array_equal(node(number, pixels), wanted)
    np.testing.assert_array_equal(node(number + len(RECIPES), pixels), wanted)


@pytest.mark.slow
@MANY
@given(number=NUMBERS, pixels=st.one_of(PHOTOS, NOISE))
def test_kotlin_squares_a_photo_bit_for_bit(kotlin: Program, number: int, pixels: np.ndarray) -> None:
    wanted = RECIPES[number](Image.fromarray(np.ascontiguousarray(pixels[..., :3])))
    np.testing.assert_array_equal(kotlin(number, pixels), wanted)


@pytest.mark.slow
def test_a_photo_of_a_phone_too(node: Program) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    for number in (0, 1, len(RECIPES) - 1):
        np.testing.assert_array_equal(node(number, pixels), RECIPES[number](Image.fromarray(pixels)))


@pytest.mark.slow
@pytest.mark.parametrize("how", [how for how in HOWS if how.crop == 1.0], ids=lambda how: how.fit)
def test_javascript_in_a_browser(tmp_path: Path, how: Preprocessing) -> None:
    """From the file to the tensor: turned as its EXIF says, with its colour profile, bit for bit but for rounding."""
    ramp = np.zeros((50, 331, 3), dtype=np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 255, 331), np.linspace(0, 255, 50)[:, None]
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(ramp).save(tmp_path / "photo.png", icc_profile=matrix_profile(PRIMARIES[12]), exif=turned)
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
    away = np.abs(shown.reshape(32, 32, 3) - how(read_rgb(tmp_path / "photo.png")).astype(int))
    assert away.max() <= 1, away.max()
