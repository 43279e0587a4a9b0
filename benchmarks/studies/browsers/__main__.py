"""The phone app's pixels and answers in Chromium, Firefox and WebKit beside Python's: the table in docs/app.md.

    python -m attar.benchmarks.studies.browsers --output runs/browsers                   the quickstart's student
    python -m attar.benchmarks.studies.browsers --output runs/browsers --exports RUN     another one

It needs the browsers (Debian: chromium, firefox-esr, webkit2gtk-driver, xvfb, xauth), Debian's colour profiles
(libgs-common) and the browsers' libraries (`attar lab --install`).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.studies.browsers.launch import BROWSERS, Browser
from attar.benchmarks.studies.browsers.page import Told, ask, prepare
from attar.benchmarks.studies.browsers.photos import make_photos
from attar.benchmarks.studies.elpv import run_attar
from attar.console import say
from attar.data.images import use_rgb
from attar.deploy.app.site import write_site
from attar.export.manifest import read_manifest
from attar.export.runners import open_runner
from attar.files import write_json, write_text
from attar.preprocessing import Preprocessing
from attar.runfolder import exports_of

MARGIN = 0.02
"""Where Python's first answer leads by more, the page's must be the same."""
LEVELS = 2
"""By which a value may differ: browsers' decoders are not Pillow's."""


def main() -> None:
    """Ask every installed browser, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/browsers"))
    parser.add_argument("--exports", type=Path, help="a run or exports folder; by default the quickstart is run")
    parser.add_argument("--photos", type=int, default=200)
    options = parser.parse_args()
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    exports = exports_of(options.exports or _quickstart(output))
    with tempfile.TemporaryDirectory(prefix="attar-browsers-") as folder:
        rows = compare(exports, [each for each in BROWSERS if each.program()], Path(folder), options.photos)
    write_json(output / "results.json", rows)
    write_text(output / "results.md", markdown(rows))
    print(markdown(rows))


def _quickstart(output: Path) -> Path:
    run = output / "quickstart"
    if not (run / "report.json").is_file():
        say("quickstart")
        run_attar("quickstart", "--output", run, log=output / "quickstart.log")
    return run


def compare(exports: Path, browsers: Sequence[Browser], folder: Path, count: int) -> list[dict[str, Any]]:
    """One row per browser: see `row`. `folder` is an empty one for what is served."""
    (folder / "source").mkdir()
    photos = make_photos(folder / "source", count)
    write_site(exports, folder / "app")
    served = prepare(folder / "app", photos, folder / "site")
    how = Preprocessing.from_json(read_manifest(exports).preprocessing)
    pixels = {path.name: use_rgb(how, path) for path in photos}
    rows = []
    for browser in browsers:
        say(browser.name)
        told = ask(browser, served, how.size)
        rows.append(row(browser.name, told, pixels, exports))
    return rows


def row(name: str, told: Told, pixels: dict[str, np.ndarray], exports: Path) -> dict[str, Any]:
    """A browser's tensors and answers beside Python's.

    Args:
        name: the browser's.
        told: what it computed.
        pixels: photo -> Python's tensor, uint8 (size, size, 3).
        exports: folder of the file that it ran.
    """
    runner = open_runner(exports / told.about["file"])
    levels = {each: np.abs(told.squares[each].astype(int) - pixels[each]) for each in told.squares}
    python = {each: runner.predict(pixels[each][None])[0] for each in told.answers}
    same_pixels = {each: runner.predict(told.squares[each][None])[0] for each in told.answers}
    sure = [each for each, shares in python.items() if float(np.diff(np.sort(shares)[-2:])[0]) > MARGIN]
    return {
        "browser": name,
        "agent": told.about["agent"],
        "runtime": told.about["runtime"],
        "file": told.about["file"],
        "photos": len(pixels),
        "unread": told.errors,
        "levels": max(int(each.max()) for each in levels.values()),
        "beyond": {each: int(found.max()) for each, found in levels.items() if found.max() > LEVELS},
        "mean": float(np.mean([each.mean() for each in levels.values()])),
        "sure": len(sure),
        "other_answers": [each for each in sure if told.answers[each].argmax() != python[each].argmax()],
        "apart": max(float(np.abs(told.answers[each] - same_pixels[each]).max()) for each in told.answers),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "| browser | runs the model by | photos | most levels apart | mean | beyond 2 levels | "
        "first answer differs | same pixels, probabilities apart |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for each in rows:
        lines.append(
            f"| {each['browser']} {_version(each)} | {each['runtime']} | {each['photos'] - len(each['unread'])} "
            f"| {each['levels']} | {each['mean']:.4f} | {len(each['beyond'])} "
            f"| {len(each['other_answers'])} of {each['sure']} | {each['apart']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def _version(each: dict[str, Any]) -> str:
    marks = {"Chromium": "Chrome/", "Firefox": "Firefox/", "WebKit": "Version/"}
    return str(each["agent"].partition(marks[each["browser"]])[2].split(" ")[0].split(".")[0])


if __name__ == "__main__":
    main()
