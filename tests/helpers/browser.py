"""A real headless Chromium, driven by Playwright. Waits end by what the page does, not by a clock."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

HANG = 600
"""Seconds after which a page hangs. However busy the machine is, nothing here takes this long."""
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """The browser's program; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium is installed")
    return program


@contextmanager
def browsing(*flags: str) -> Iterator[Browser]:
    """Start Chromium, and end it. Playwright wants one at a time in a process; two visitors are two contexts of it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), chromium_sandbox=False, args=[*FLAGS, *flags], timeout=1000 * HANG
        )
        yield browser
        browser.close()


def visit(browser: Browser, url: str, complaints: list[str] | None = None, **look: Any) -> Page:
    """Open a page as a new visitor, with nothing kept from others.

    Args:
        browser: from `browsing`.
        url: of the page.
        complaints: is given all that the browser logs as an error, such as a breach of the page's security policy, and
            every uncaught exception; what the page itself writes to the console is no complaint.
        look: of Playwright's `new_context`: `viewport`, `color_scheme`, `is_mobile`.
    """
    context = browser.new_context(**look)
    context.set_default_timeout(1000 * HANG)
    page = context.new_page()
    if complaints is not None:
        page.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" and not message.args else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    return page


def phone(dark: bool = False) -> dict[str, Any]:
    """The look of a phone's screen, for `visit`."""
    return {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "color_scheme": "dark" if dark else "light"}


def when(page: Page, condition: str) -> None:
    """Return as soon as a condition in JavaScript holds; it is looked at after every change of the document."""
    page.evaluate(
        f"""() => new Promise((resolve, reject) => {{
          const seen = new MutationObserver(look);
          const hung = setTimeout(() => end(reject, new Error(
            {condition!r} + " never held. The page says: " + document.body.innerText)), {1000 * HANG});
          function end(settle, value) {{ seen.disconnect(); clearTimeout(hung); settle(value); }}
          function look() {{ if ({condition}) end(resolve); }}
          seen.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
          look();
        }})"""
    )


def accessible(page: Page) -> list[tuple[str, str]]:
    """Role and name of everything that a screen reader meets, in Chromium's own accessibility tree."""
    tools = page.context.new_cdp_session(page)
    nodes = tools.send("Accessibility.getFullAXTree")["nodes"]
    tools.detach()
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]


def faults(page: Page) -> list[str]:
    """What axe-core finds against a page: each rule that is broken, and the first element that breaks it.

    Rules are those of WCAG 2.2 A and AA, and axe's own best practices.
    """
    script = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(script)  # not as a script element: the page's policy allows its own scripts only
    found = page.evaluate("axe.run().then((told) => told.violations)")
    return [f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:200]}" for each in found]


def told_by(folder: Path) -> Any:
    """Serve a folder, open its index.html in a browser, and return what the page's promise `told` holds in the end."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def guess_type(self, path: Any) -> str:
            return "text/javascript" if str(path).endswith("js") else super().guess_type(path)

        def log_message(self, *about: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with browsing() as browser:
            return visit(browser, f"http://127.0.0.1:{server.server_address[1]}/index.html").evaluate("window.told")
    finally:
        server.shutdown()
        server.server_close()
