"""How long the phone app takes from opening to its first answer, from a warm cache: the figure in docs/app.md.

    python -m attar.benchmarks.studies.browsers.opening --exports quickstart

The page is opened once, so that its service worker keeps everything; then again and again in a fresh tab without a
network. Each time a photo is chosen as soon as the page can be asked, and the clock stops when its answer is shown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.browsers.picture import chromium_path, ready, served
from attar.deploy.app.site import write_site
from attar.runfolder import exports_of


def main() -> None:
    """Print the median and the largest of the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exports", type=Path, required=True, help="a run, or its exports folder")
    parser.add_argument("--times", type=int, default=10)
    options = parser.parse_args()
    exports = exports_of(options.exports)
    with tempfile.TemporaryDirectory() as folder:
        write_site(exports, Path(folder) / "site")
        with served(Path(folder) / "site") as url:
            seconds = measured(url, min((exports / "golden").glob("*.png")), options.times)
    host = describe()
    print(f"{host['cpu']}, {host['cores']} cores; Chromium, warm cache, no network:")
    print(f"first answer after {statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s")


def measured(url: str, photo: Path, times: int) -> list[float]:
    """Seconds from opening the page to its first answer, once per time."""
    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(), chromium_sandbox=False, args=["--disable-gpu"]
        )
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        ready(page)
        context.set_offline(True)
        for _ in range(times):
            page.close()
            page = context.new_page()
            started = time.perf_counter()
            page.goto(url)
            page.wait_for_selector("#choose:not([disabled])")
            page.set_input_files("#file", photo)
            page.wait_for_selector("#answers .label")
            seconds.append(time.perf_counter() - started)
        browser.close()
    return seconds


if __name__ == "__main__":
    main()
