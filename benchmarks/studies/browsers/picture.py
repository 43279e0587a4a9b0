"""The picture of the phone app in README.md and docs/app.md.

    python -m attar.benchmarks.studies.browsers.picture --exports quickstart

It writes the app of a run, opens it in Chromium with a phone's screen, asks about a photo, says "No, it is ...",
and puts both screens into docs/app.png. It needs Debian's chromium and the browsers' libraries (`attar lab --install`).
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image
from playwright.sync_api import Error, Page, ViewportSize, sync_playwright

from attar.data.images import open_image
from attar.deploy.app.serve import make_app
from attar.deploy.app.site import write_site
from attar.errors import InputError
from attar.runfolder import exports_of
from attar.serving.http import make_server

ROOT = Path(__file__).parents[3]
SCREEN: ViewportSize = {"width": 390, "height": 844}


def main() -> None:
    """Write docs/app.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exports", type=Path, required=True, help="a run, or its exports folder")
    parser.add_argument("--photo", type=Path, help="what is asked about; by default a golden photo of the exports")
    parser.add_argument("--name", default="Digits")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "app.png")
    options = parser.parse_args()
    exports = exports_of(options.exports)
    photo = options.photo or min((exports / "golden").glob("*.png"))
    with tempfile.TemporaryDirectory() as folder:
        write_site(exports, Path(folder) / "site", name=options.name)
        with served(Path(folder) / "site") as url:
            screens = [_screen(url, photo, dark=False), _screen(url, photo, dark=True)]
    _joined(screens).save(options.output, optimize=True)
    print(f"Written: {options.output}")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder that `attar app` wrote, served on loopback -> its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(make_app(folder), lifespan="off")
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


def chromium_path() -> str:
    """The browser's program.

    Raises:
        InputError: it is not installed.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise InputError("Chromium is not installed. On Debian: apt install chromium.")
    return program


def _screen(url: str, photo: Path, dark: bool) -> Image.Image:
    """The answer in light colours; the choice of another label in dark ones."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(), chromium_sandbox=False, args=["--disable-gpu"]
        )
        page = browser.new_page(viewport=SCREEN, is_mobile=True, color_scheme="dark" if dark else "light")
        page.goto(url)
        ready(page)
        page.set_input_files("#file", photo)
        page.wait_for_selector("#verdict:not([hidden])")
        if dark:
            page.click("#no")
        shot = page.screenshot()
        browser.close()
    return open_image(io.BytesIO(shot)).convert("RGB")


def ready(page: Page) -> None:
    """Wait until the page can be asked: it loads itself once more, isolated, before that."""
    while True:
        with suppress(Error):  # it is between the two
            if page.evaluate("self.crossOriginIsolated && document.getElementById('choose')?.disabled === false"):
                return
        page.wait_for_timeout(100)


def _joined(screens: list[Image.Image]) -> Image.Image:
    gap = 24
    width = sum(each.width for each in screens) + gap * (len(screens) + 1)
    image = Image.new("RGB", (width, screens[0].height + 2 * gap), "#808890")
    left = gap
    for each in screens:
        image.paste(each, (left, gap))
        left += each.width + gap
    return image.quantize(128, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
