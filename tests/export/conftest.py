"""One small student and its files, made once for all tests of exported files. Tests that damage some take a copy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from attar.bundle import Bundle, read_bundle
from attar.data.photos import DataSpec, Photos, read_photos
from attar.export.export import export_student
from helpers.once import made_once
from helpers.small import DROP, TARGETS, make_student

LOCKED = Path(__file__).parents[2] / "export/web/npm"


@pytest.fixture(scope="session")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="session")
def bundle(photos: Photos, shared: Path) -> Bundle:
    return read_bundle(made_once(shared / "student", lambda path: make_student("mobilenetv3_small_050", photos, path)))


@pytest.fixture(scope="session")
def exported(bundle: Bundle, photos: Photos, shared: Path) -> Path:
    """Files of `TARGETS`, with their guide."""
    return made_once(
        shared / "exports", lambda path: export_student(bundle, TARGETS, path, photos=photos, max_drop=DROP)
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Path:
    """A folder with the npm packages that the snippets import; skips where they cannot be had."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for file in LOCKED.iterdir():  # the versions that `attar lab` runs
        shutil.copy(file, folder)
    options = ["--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(["npm", "ci", *options], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"npm ci failed: {done.stderr[-300:]}")
    return folder
