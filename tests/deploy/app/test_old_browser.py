"""A browser without wasm SIMD: V8 has it only where it may use SSE 4.1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from helpers.browser import browsing, chromium, visit
from helpers.phone_app import waited

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium()
    with browsing("--js-flags=--no-enable-sse4-1") as browser:
        yield browser


def test_without_simd_one_line_says_so_and_nothing_else_is_tried(
    browser: Browser, written: Path, serving: Callable[[Path], str]
) -> None:
    page = visit(browser, serving(written), complaints := [])
    waited(page, "document.getElementById('trouble')?.textContent.includes('it lacks WebAssembly SIMD')")
    assert page.locator("#choose").is_disabled() and page.locator("#watch").is_disabled()
    assert page.locator("#hint").is_hidden() and not complaints
    assert page.evaluate("performance.getEntriesByType('resource').every((each) => !each.name.includes('/models/'))")
