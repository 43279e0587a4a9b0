"""One small student and its files, made once for all tests of exported files. Tests that damage some take a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from attar.bundle import Bundle
from attar.data.photos import DataSpec, Photos, read_photos
from attar.export.export import export_student
from helpers.small import DROP, TARGETS, make_student


@pytest.fixture(scope="session")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="session")
def bundle(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_student("mobilenetv3_small_050", photos, tmp_path_factory.mktemp("student") / "bundle")


@pytest.fixture(scope="session")
def exported(bundle: Bundle, photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of `TARGETS`, with their guide."""
    folder = tmp_path_factory.mktemp("exports") / "exports"
    export_student(bundle, TARGETS, folder, photos=photos, max_drop=DROP)
    return folder
