"""The page's tensor and answer are Python's, from the photo's file on, in a real Chromium."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from attar.benchmarks.studies.browsers.photos import make_photos
from attar.data.images import use_rgb
from attar.export.manifest import read_manifest
from attar.export.runners import open_runner
from attar.preprocessing import Preprocessing
from helpers.browser import visit, when
from helpers.phone_app import isolated

pytestmark = pytest.mark.slow

MOST, MEAN = 2, 0.2
"""Levels by which one value, and all in the mean over the photos, may differ: decoders and colour converters do."""

TENSOR = """async (url) => {
  const { pixelsOfFile } = await import(new URL("decode.js", location));
  const { squaring } = await import(new URL("square.js", location));
  const squareOf = squaring((await (await fetch("site.json")).json()).square);
  const { data, width, height } = await pixelsOfFile(await (await fetch(url)).blob());
  return btoa(String.fromCharCode(...squareOf(data, width, height, 4)));
}"""
WRONG = """async (url) => {
  const { size: SIZE } = await (await fetch("site.json")).json();
  const bitmap = await createImageBitmap(await (await fetch(url)).blob());
  const pen = new OffscreenCanvas(SIZE, SIZE).getContext("2d");
  pen.imageSmoothingEnabled = SMOOTH;
  const side = Math.min(bitmap.width, bitmap.height) * 0.875;
  pen.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIZE, SIZE);
  const { data } = pen.getImageData(0, 0, SIZE, SIZE);
  return btoa(String.fromCharCode(...data.filter((_, index) => index % 4 < 3)));
}"""


@pytest.fixture(scope="module")
def site(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app, with photos beside it."""
    folder = Path(shutil.copytree(written, tmp_path_factory.mktemp("parity") / "site"))
    (folder / "photos").mkdir()
    make_photos(folder / "photos", 200)
    return folder


@pytest.fixture
def page(browser: Browser, site: Path, serving: Callable[[Path], str]) -> Iterator[Page]:
    page = visit(browser, serving(site))
    isolated(page)
    yield page


def tensor(page: Page, script: str, path: Path, size: int) -> np.ndarray:
    content = base64.b64decode(page.evaluate(script, f"photos/{path.name}"))
    return np.frombuffer(content, np.uint8).reshape(size, size, 3).astype(int)


def test_two_hundred_photos_are_pythons_pixels_and_answers(page: Page, site: Path, exports: Path) -> None:
    manifest = read_manifest(exports)
    how = Preprocessing.from_json(manifest.preprocessing)
    runner = open_runner(exports / "litert-int8.tflite")
    far: dict[str, tuple[int, float]] = {}
    for number, path in enumerate(sorted((site / "photos").iterdir())):
        shown = tensor(page, TENSOR, path, how.size)
        difference = np.abs(shown - use_rgb(how, path))
        far[path.name] = int(difference.max()), float(difference.mean())
        if number % 4 == 0:
            # The answer, as a person reads it, is that of the same pixels in Python. (This student, of a few training
            # steps, magnifies a level of difference in a few pixels, so its answer to Python's pixels may be another.)
            share = np.sort(runner.predict(shown[None].astype(np.uint8))[0])[::-1]
            given = [float(text.removesuffix("%")) / 100 for text in asked(page, path)[1::2]]
            assert np.abs(share - given).max() <= 0.005, path.name
    assert len(far) == 200
    assert max(most for most, _ in far.values()) <= MOST, far
    assert np.mean([mean for _, mean in far.values()]) <= MEAN, far


def asked(page: Page, path: Path) -> list[str]:
    """The answers to a photo that is chosen on the page: labels and percents in turns."""
    page.evaluate("document.getElementById('answers').replaceChildren()")
    page.set_input_files("#file", path)
    when(page, "document.querySelector('#answers .label')")
    return page.locator("#answers span").all_inner_texts()


@pytest.mark.parametrize("smooth", ["true", "false"])
def test_the_browsers_own_resize_would_not_do(page: Page, site: Path, exports: Path, smooth: str) -> None:
    how = Preprocessing.from_json(read_manifest(exports).preprocessing)
    path = next(each for each in sorted((site / "photos").glob("*.png")) if Image.open(each).size == (1280, 960))
    shown = tensor(page, WRONG.replace("SMOOTH", smooth), path, how.size)
    assert np.abs(shown - use_rgb(how, path)).max() > MOST


def test_a_frame_of_the_camera_is_resized_like_a_photo(page: Page, exports: Path) -> None:
    """What the video element shows, taken by the shutter, gives the tensor that Python makes of the same pixels."""
    how = Preprocessing.from_json(read_manifest(exports).preprocessing)
    png, square = page.evaluate(
        """async () => {
          const stream = await navigator.mediaDevices.getUserMedia({ video: true });
          const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true });
          await video.play();
          const { pixelsOf } = await import(new URL("decode.js", location));
          const { squaring } = await import(new URL("square.js", location));
          const squareOf = squaring((await (await fetch("site.json")).json()).square);
          const { data, width, height } = pixelsOf(video, video.videoWidth, video.videoHeight);
          stream.getTracks().forEach((track) => track.stop());
          const canvas = new OffscreenCanvas(width, height);
          canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
          const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
          const text = (list) => btoa(Array.from(list, (byte) => String.fromCharCode(byte)).join(""));
          return [text(bytes), text(squareOf(data, width, height, 4))];
        }"""
    )
    frame = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    shown = np.frombuffer(base64.b64decode(square), np.uint8).reshape(how.size, how.size, 3)
    assert frame.width >= 320 and np.array_equal(shown, how(frame))
