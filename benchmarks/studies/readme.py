"""The quickstart's output, table and picture, as README.md shows them.

    python -m attar.benchmarks.studies.readme

It runs `attar quickstart` in a fresh folder and puts what that printed between the README's two marks,
and the picture into docs/quickstart.svg. Nothing there is written by hand.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attar.benchmarks.report.comparison import Comparison
from attar.benchmarks.report.picture import picture
from attar.errors import GateError
from attar.files import write_text

ROOT = Path(__file__).parents[2]
EPOCH = re.compile(r" · epoch \d+/\d+")
"""In a pipe training prints a line per epoch."""
BEGIN, END = "<!-- quickstart:begin -->", "<!-- quickstart:end -->"


def main() -> None:
    """Run the quickstart, then rewrite README.md's block and docs/quickstart.svg."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        output = _quickstart(Path(folder))
        minutes = (time.monotonic() - started) / 60
        report = json.loads((Path(folder) / "quickstart" / "report.json").read_text(encoding="utf-8"))
    comparison = Comparison.from_json(report)
    picture(comparison, ROOT / "docs" / "quickstart.svg")
    readme = ROOT / "README.md"
    write_text(readme, replaced(readme.read_text(encoding="utf-8"), block(output, minutes)))


def _quickstart(folder: Path) -> str:
    """What `attar quickstart` prints, on a terminal 100 characters wide."""
    command = [sys.executable, "-m", "attar", "quickstart"]
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise GateError(f"attar quickstart failed:\n{done.stdout}")
    return done.stdout


def block(output: str, minutes: float) -> str:
    """The README's block: output without a line per epoch, picture, and the machine they come from."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, no GPU"
    text = "\n".join(line.rstrip() for line in output.strip().splitlines() if not EPOCH.search(line))
    return (
        f"```console\n$ attar quickstart\n{text}\n```\n\n"
        f"{minutes:.1f} minutes from photos to here on {machine}; brackets are 95% intervals.\n\n"
        "![Accuracy against latency of the quickstart's files](docs/quickstart.svg)\n\n"
        "Output and picture are written here by `python -m attar.benchmarks.studies.readme`.\n"
    )


def replaced(readme: str, text: str) -> str:
    """The README with `text` between its two marks."""
    pattern = re.compile(f"({re.escape(BEGIN)}\n).*?({re.escape(END)})", re.DOTALL)
    if not pattern.search(readme):
        raise GateError(f"README.md has lost its marks {BEGIN} and {END}.")
    return pattern.sub(lambda match: f"{match[1]}\n{text}\n{match[2]}", readme)


if __name__ == "__main__":
    main()
