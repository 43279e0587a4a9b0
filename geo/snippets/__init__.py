"""Code to paste into an app: the prior of place and season in plain Python, JavaScript, Kotlin and Swift.

Each computes the prior from `model.safetensors` in double precision, and joins it with a photo's answer as
`attar.geo.combine` does. What they need to know is in `prior.json`, so the same code is for every prior. The app
for phones uses the JavaScript.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from attar.files import replacing

HERE = Path(__file__).parent
JAVASCRIPT = HERE / "geo_prior.mjs"
FILES = {
    "geo_prior.py": HERE / "geo_prior.py.in",
    "geo_prior.mjs": JAVASCRIPT,
    "GeoPrior.kt": HERE / "GeoPrior.kt",
    "GeoPriorFiles.kt": HERE / "GeoPriorFiles.kt",
    "GeoPrior.swift": HERE / "GeoPrior.swift",
}
"""Name in the folder `snippets` of a prior -> the file that is copied there."""


def write_snippets(folder: Path) -> None:
    """Write the folder `snippets` of a prior, whole or not at all; links in it are not followed."""
    with replacing(folder / "snippets") as made:
        made.mkdir()
        for name, source in FILES.items():
            shutil.copyfile(source, made / name)
