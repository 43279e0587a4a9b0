"""The app and its server are killed again and again while somebody answers: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Error, Page, Playwright, sync_playwright

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("segno")

from attar.deploy.app import site as sites
from attar.deploy.collect.store import opened
from helpers.browser import FLAGS, HANG, chromium, when
from helpers.collecting import attar, known_port, running
from helpers.phone_app import ask, isolated
from helpers.pictures import draw

pytestmark = pytest.mark.slow

DEATHS = int(os.environ.get("ATTAR_DEATHS", "4"))
"""How often the browser is killed, and the server; the more often, the longer it takes."""


class Mortal:
    """A phone's browser, which keeps its profile, and whose process is killed when its time has come."""

    def __init__(self, playwright: Playwright, profile: Path, url: str) -> None:
        self._playwright, self._profile, self._url = playwright, profile, url

    @contextmanager
    def living(self, seconds: float | None) -> Iterator[Page]:
        """The app, opened anew, until it is killed after so many seconds."""
        context = self._playwright.chromium.launch_persistent_context(
            self._profile, executable_path=chromium(), chromium_sandbox=False, args=FLAGS, timeout=1000 * HANG
        )
        death = threading.Timer(seconds, self._kill) if seconds is not None else None
        try:
            context.set_default_timeout(1000 * HANG)
            if death:
                death.start()
            page = context.pages[0]
            page.goto(self._url)
            isolated(page)
            yield page
        finally:
            if death:
                death.join()  # a page that is done waits for its end
            self._close(context)

    def _kill(self) -> None:
        # Its children end with it. The first of a profile's processes is the browser.
        subprocess.run(["pkill", "-9", "-o", "-f", "--", f"--user-data-dir={self._profile}"], check=False)

    def _close(self, context: BrowserContext) -> None:
        with suppress(Error):
            context.close()


@pytest.fixture
def url(tmp_path: Path, exports: Path, installed: None, port: int, serving: Callable[[Path], str]) -> str:
    """An app that sends to that port, served."""
    sites.write_site(exports, tmp_path / "site", collect=f"http://127.0.0.1:{port}")
    return serving(tmp_path / "site")


@pytest.fixture
def port(tmp_path: Path) -> int:
    return known_port(tmp_path / "plants")


def answer(page: Page, photo: Path, text: str) -> None:
    """Say what a photo shows; returns once the page says that it is kept."""
    ask(page, photo)
    when(page, "!document.getElementById('verdict').hidden")
    page.click("#other")
    page.fill("#text", text)
    page.keyboard.press("Enter")
    when(page, "!document.getElementById('kept').hidden")
    page.evaluate("dispatchEvent(new Event('online'))")  # send at once


class Server:
    """`attar collect`, which is killed and started anew at random moments until it is told to stay."""

    def __init__(self, folder: Path, port: int, chance: random.Random) -> None:
        self._words, self._chance, self._stay = ("collect", folder, "--port", port), chance, threading.Event()
        self._thread = threading.Thread(target=self._live)
        self.deaths = 0

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._stay.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._stay.is_set():
            with running(*self._words) as server:
                server.hears("Ctrl-C")
                self._stay.wait(self._chance.uniform(0.2, 4))
            self.deaths += 1


def test_browser_and_server_die_at_random_moments_and_nothing_is_lost_or_doubled(
    tmp_path: Path, url: str, port: int
) -> None:
    photo, folder, chance = tmp_path / "cross.png", tmp_path / "plants", random.Random(11)
    draw("cross", 5).save(photo)
    link = attar("collect", folder, "--invite", "Ana", "--app", url)["link"]
    said: list[str] = []
    kept: list[str] = []
    deaths, longest = 0, 8.0
    with sync_playwright() as playwright:
        phone = Mortal(playwright, tmp_path / "profile", url)
        with phone.living(None) as page:
            page.goto(link)  # the same page, with the token behind "#"
            when(page, "document.getElementById('towards').textContent.includes('127.0.0.1')")
        with Server(folder, port, chance) as server:
            while deaths < DEATHS or server.deaths < DEATHS or len(kept) <= deaths / 2:
                before = len(kept)
                with suppress(Error), phone.living(chance.uniform(1.5, longest)) as page:
                    while True:
                        said.append(f"note {len(said)}")
                        answer(page, photo, said[-1])
                        kept.append(said[-1])
                deaths += 1
                if len(kept) == before:
                    longest *= 1.5  # a busy machine needs longer until something is kept
        with running("collect", folder, "--port", port) as last, phone.living(None) as page:
            last.hears("Ctrl-C")
            page.evaluate("dispatchEvent(new Event('online'))")
            page.evaluate("() => { document.getElementById('mine').open = true; }")
            when(page, "document.getElementById('mine-title').textContent.endsWith('(0)')")
    with opened(folder) as store:
        arrived = Counter(each.observation.text for each in store.observations())
    print(f"{deaths} browsers and {server.deaths} servers killed; {len(said)} said, {len(kept)} seen kept")
    assert set(kept) <= set(arrived) <= set(said) and set(arrived.values()) == {1}
