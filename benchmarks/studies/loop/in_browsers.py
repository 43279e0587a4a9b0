"""People who are headless Chromium pages: each opens the app in a browser context of its own, by its own invitation.

The app is made once, from the first release. Before people choose photos their page updates itself to what was
published since. `attar collect` runs as a process of its own; a plain static host has the app and the release folder.
"""

from __future__ import annotations

import http.server
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.benchmarks.studies.browsers.launch import BROWSERS
from attar.benchmarks.studies.loop.world import Errand, World, attar
from attar.children import environment
from attar.deploy.collect.store import opened
from attar.errors import InputError
from attar.extras import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE = 180
"""Seconds that a page may take for one step, on a machine that does other things too."""
TRIES = 3
"""Pages that one person may need in one round: one that fails is opened anew, with nothing kept."""
FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
RESTS = """async () => {
  const looking = ({ held, pending }) => [...held, ...pending].some(({ name }) => name.startsWith("attar-releases"));
  while (looking(await navigator.locks.query())) await new Promise((resolve) => setTimeout(resolve, 10));
}"""
"""Wait until the page looks for no release."""


class Crowd:
    """Everybody's page, in a browser context of its own. It stays open between the rounds."""

    def __init__(self, world: World, browser: Browser, app: str) -> None:
        self.world, self.browser, self.app = world, browser, app
        self.pages: dict[str, Page] = {}

    def send(self, world: World, errands: Sequence[Errand]) -> None:
        """Everybody in turn takes what was published, and sends their photos."""
        of: dict[str, list[Errand]] = {}
        for each in errands:
            of.setdefault(each.who, []).append(each)
        for who, photos in of.items():
            self._send(who, photos)

    def _send(self, who: str, photos: Sequence[Errand]) -> None:
        """One person's photos: what has arrived of them is not sent again after a page has failed."""
        from playwright.sync_api import Error

        before = len(self.world.errands[who])
        if self._arrived(who) == before + len(photos):
            return  # before the study was interrupted
        for attempt in range(TRIES):
            try:
                page = self._updated(who)
                for each in photos[self._arrived(who) - before :]:
                    answer(page, each)
                self._sent(page, who, before + len(photos))
                return
            except Error as error:
                print(f"{who}, try {attempt + 1}: {str(error)[:500]}", file=sys.stderr)
                if who in self.pages:
                    self.pages.pop(who).context.close()
        raise SystemExit(f"{who}: {len(photos) + before - self._arrived(who)} photos did not arrive.")

    def _updated(self, who: str) -> Page:
        """The person's page, with the model that was published last."""
        looks = 0
        if who not in self.pages:
            context = self.browser.new_context(locale="en-US", viewport={"width": 390, "height": 844})
            context.set_default_timeout(1000 * PATIENCE)
            self.pages[who] = context.new_page()
            self.pages[who].goto(f"{self.app}#invitation={self.world.tokens[who]}")
        else:
            self.pages[who].evaluate(RESTS)  # sending made it look, too
            looks = int(self.pages[who].locator("#facts").get_attribute("data-looks") or 0)
            online(self.pages[who])  # it looks for a release
        facts = self.pages[who].locator("#facts")
        self.pages[who].locator(f"#facts[data-looks='{looks + 1}']").wait_for(state="attached")
        news = facts.get_attribute("data-news")
        if news not in ("upToDate", "updateTaken"):
            raise SystemExit(f"{who}: the page did not take the release: {news}, {facts.get_attribute('data-detail')}")
        return self.pages[who]

    def _sent(self, page: Page, who: str, total: int) -> None:
        """Wait until everything has arrived and the page knows it."""
        online(page)  # it sends now, not after the seconds in which an answer can be changed
        until = time.monotonic() + PATIENCE
        while self._arrived(who) < total and time.monotonic() < until:
            page.wait_for_timeout(50)
        page.locator("#state", has_text=re.compile(r"^Sent: \d+\.$")).wait_for(state="attached")

    def _arrived(self, who: str) -> int:
        with opened(self.world.store) as store:
            return next(each.used for each in store.invitations() if each.contributor == who)


def online(page: Page) -> None:
    """As if the network had come back."""
    page.evaluate("dispatchEvent(new Event('online'))")


def answer(page: Page, errand: Errand) -> None:
    """Choose a photo, read the answer, and say whether it is right."""
    page.set_input_files("#file", errand.path)
    page.locator("#verdict").wait_for(state="visible")
    if page.locator("#answers .label").first.inner_text() == errand.said:
        page.click("#yes")
    else:
        page.click("#no")
        page.fill("#query", errand.said)
        page.locator("#found li").get_by_text(errand.said, exact=True).first.click()
    page.locator("#kept").wait_for(state="visible")


@contextmanager
def crowd(world: World) -> Iterator[Crowd]:
    """Start the servers and Chromium, make the app from the first release, and end all of it.

    Raises:
        InputError: Chromium is not installed.
        MissingExtra: Playwright is not installed.
    """
    require("playwright")
    from playwright.sync_api import sync_playwright

    program = BROWSERS[0].program()
    if program is None:
        raise InputError(f"Chromium is not installed. On Debian: apt install {BROWSERS[0].package}.")
    www = world.folder / "www"
    with collecting(world) as server, hosting(www) as url:
        trust = ("--releases", "../models", "--trust", world.releases)
        attar("app", world.first, "--output", www / "app", "--name", world.photos.title, "--collect", server, *trust)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=program, chromium_sandbox=False, args=[*FLAGS], timeout=1000 * PATIENCE
            )
            yield Crowd(world, browser, f"{url}app/")
            browser.close()


@contextmanager
def collecting(world: World) -> Iterator[str]:
    """Run `attar collect` -> its address."""
    log = world.folder / "collect.log"
    command = [sys.executable, "-m", "attar", "collect", str(world.store), "--port", "0"]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment(COLUMNS="200"))
    try:
        while "Ctrl-C" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(f"attar collect: {log.read_text()}")
            time.sleep(0.1)
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert found, log.read_text()
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


@contextmanager
def hosting(folder: Path) -> Iterator[str]:
    """Serve a folder as any static host does -> its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *about: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
