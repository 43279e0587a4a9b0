"""The app looks at a film through the camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.benchmarks.predict import predict
from helpers.browser import browsing, visit, when
from helpers.phone_app import isolated
from helpers.pictures import draw

pytestmark = pytest.mark.slow

FLAGS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def test_a_film_of_a_shape_is_answered_as_its_picture(
    written: Path, exports: Path, serving: Callable[[Path], str], tmp_path: Path
) -> None:
    """A video file as the camera: its grey frames are Python's pixels to 2 levels, and the answer is Python's."""
    picture = draw("square", 77, 480).convert("L").point(lambda level: 16 + level * 219 // 255)  # the range of video
    seen = tmp_path / "seen.png"
    picture.point(lambda level: round((level - 16) * 255 / 219)).convert("RGB").save(seen)
    film = tmp_path / "film.y4m"
    frame = b"FRAME\n" + picture.tobytes() + bytes([128]) * (480 * 480 // 2)
    film.write_bytes(b"YUV4MPEG2 W480 H480 F30:1 Ip C420jpeg\n" + 30 * frame)
    [python] = predict(exports / "litert-int8.tflite", seen, top=1)
    with browsing(*FLAGS, f"--use-file-for-fake-video-capture={film}") as browser:
        complaints: list[str] = []
        page = visit(browser, serving(written), complaints)
        isolated(page)
        page.get_by_role("button", name="Use the camera").click()
        when(page, "document.querySelectorAll('#answers li').length === 3")
        shown = page.evaluate(
            """async () => {
              const { pixelsOf } = await import(new URL("decode.js", location));
              const video = document.getElementById("camera");
              const { data } = pixelsOf(video, video.videoWidth, video.videoHeight);
              return Array.from(data.filter((_, at) => at % 4 === 0));
            }"""
        )
        page.get_by_role("button", name="Take this picture").click()
        when(page, "document.getElementById('photo').src.startsWith('blob:')")
        assert page.locator("#answers .label").first.inner_text() == python.top[0][0]
        assert not complaints
    grey = np.asarray(Image.open(seen).convert("L")).astype(int).ravel()
    assert len(shown) == grey.size and np.abs(np.array(shown) - grey).max() <= 2
