"""The pictures of the phone app in README.md, docs/app.md and docs/confidence.md.

    attar quickstart --quick
    python -m attar.benchmarks.studies.browsers.picture --exports quickstart
    attar export quickstart/student --familiarity relative
    python -m attar.benchmarks.studies.browsers.picture --exports quickstart/exports-relative --strange

It writes the app of a run, opens it in Chromium with a phone's screen, asks about a photo, says "No, it is ...",
and puts both screens into docs/app.png. With --strange it asks about a covered lens and a screenshot, for
docs/app-strange.png. It needs Debian's chromium and the browsers' libraries (`attar lab --install`).
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
from attar.data.strange import pictures
from attar.deploy.app.serve import make_app
from attar.deploy.app.site import write_site
from attar.errors import InputError
from attar.runfolder import exports_of
from attar.serving.http import make_server

ROOT = Path(__file__).parents[3]
SCREEN: ViewportSize = {"width": 390, "height": 844}
STRANGE = "This looks like nothing that the model knows."


def main() -> None:
    """Write docs/app.png or docs/app-strange.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exports", type=Path, required=True, help="a run, or its exports folder")
    parser.add_argument("--photo", type=Path, help="what is asked about; by default a golden photo of the exports")
    parser.add_argument("--strange", action="store_true", help="ask about pictures that show none of the classes")
    parser.add_argument("--name", default="Digits")
    parser.add_argument("--output", type=Path, help="by default in docs/")
    options = parser.parse_args()
    exports = exports_of(options.exports)
    with tempfile.TemporaryDirectory() as folder:
        write_site(exports, Path(folder) / "site", name=options.name)
        with served(Path(folder) / "site") as url:
            if options.strange:
                screens = [_strange(url, Path(folder), name) for name in ("covered lens", "screenshot")]
            else:
                photo = options.photo or min((exports / "golden").glob("*.png"))
                screens = [_screen(url, photo), _screen(url, photo, dark=True, click="#no")]
    output = options.output or ROOT / "docs" / ("app-strange.png" if options.strange else "app.png")
    _joined(screens).save(output, optimize=True)
    print(f"Written: {output}")


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


def _strange(url: str, folder: Path, name: str) -> Image.Image:
    """The answer to a drawn picture of none of the classes."""
    next(pictures(name, 1)).save(folder / f"{name}.png")
    return _screen(url, folder / f"{name}.png", text=STRANGE)


def _screen(url: str, photo: Path, dark: bool = False, click: str = "", text: str = "") -> Image.Image:
    """The answer to a photo, after a click if one is named.

    Raises:
        InputError: the app does not say `text` of it.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(), chromium_sandbox=False, args=["--disable-gpu"]
        )
        page = browser.new_page(viewport=SCREEN, is_mobile=True, color_scheme="dark" if dark else "light")
        page.goto(url)
        ready(page)
        page.set_input_files("#file", photo)
        page.wait_for_selector("#verdict:not([hidden])")
        if text not in (told := page.inner_text("#unsure")):
            raise InputError(
                f"{photo.name}: the app says {told!r} of it. Give exports that tell such pictures "
                "(attar export --familiarity)."
            )
        if click:
            page.click(click)
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
