"""The phone's app in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Error, Page

from helpers.browser import when

READY = "document.getElementById('choose') && !document.getElementById('choose').disabled"
"""It can be asked about photos."""


def isolated(page: Page, until: str = READY) -> None:
    """Wait for a condition on the page that its service worker isolated: it has loaded itself once more then."""
    waited(page, f"self.crossOriginIsolated && {until}")


def waited(page: Page, condition: str) -> None:
    """Wait for a condition on a page that loads itself once more meanwhile."""
    while True:
        try:
            return when(page, condition)
        except Error as error:
            if "context was destroyed" not in str(error):
                raise


def ask(page: Page, path: Path) -> str:
    """The first answer about a photo."""
    page.evaluate("document.getElementById('answers').replaceChildren()")
    page.set_input_files("#file", path)
    when(page, "document.querySelector('#answers .label')")
    return page.locator("#answers .label").first.inner_text()


def next_frame(page: Page) -> str:
    """Wait until the camera's next frame is answered -> its first answer."""
    return page.evaluate(
        """() => new Promise((resolve) => new MutationObserver((_, seen) => {
          const label = document.querySelector("#answers .label");
          if (!label) return;
          seen.disconnect();
          resolve(label.textContent);
        }).observe(document.getElementById("answers"), { childList: true }))"""
    )
