"""The page's tensors and answers are Python's in Firefox and in WebKit too (test_parity.py has Chromium)."""

from __future__ import annotations

from pathlib import Path

import pytest

from attar.benchmarks.studies.browsers.__main__ import LEVELS, compare
from attar.benchmarks.studies.browsers.launch import BROWSERS, Browser

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("browser", BROWSERS[1:], ids=lambda browser: browser.name)
def test_photos_are_pythons_pixels_and_answers(
    browser: Browser, exports: Path, installed: None, tmp_path: Path
) -> None:
    if browser.program() is None:
        pytest.skip(f"{browser.name} is not installed")
    [row] = compare(exports, [browser], tmp_path, 48)
    assert not row["beyond"] and row["levels"] <= LEVELS, row
    assert not row["unread"] and row["mean"] <= 0.2 and row["apart"] <= 0.005
