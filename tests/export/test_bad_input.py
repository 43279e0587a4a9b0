"""Bad input to an export: one clear error, and exports from before stay as they were, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attar.errors import GateError, InputError
from attar.export.export import export_student
from attar.export.formats import FORMATS
from attar.export.manifest import read_manifest
from attar.files import sha256
from helpers import misbehaving
from helpers.small import DROP, SIDE, make_student

for package in ("litert_torch", "coremltools", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def exported(bundle, photos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "exports"
    export_student(bundle, ["onnx:fp32"], folder, photos=photos, max_drop=DROP)
    return folder


@pytest.fixture
def untouched(exported):
    """The folder, checked afterwards."""
    before = sha256(exported)
    yield exported
    assert sha256(exported) == before


@pytest.mark.parametrize("count", [2, 4])
def test_labels_that_are_not_the_students(bundle, photos, untouched, count):
    labels = (*photos.labels, "fourth")[:count]
    with pytest.raises(InputError, match=f"{count} labels for a student of 3 classes"):
        export_student(replace(bundle, labels=labels), ["onnx:int8"], untouched, photos=photos, force=True)


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (np.zeros((16, SIDE + 1, SIDE, 3), np.uint8), r"\(16, 33, 32, 3\)"),
        (np.zeros((16, 3, SIDE, SIDE), np.uint8), r"\(16, 3, 32, 32\)"),
        (np.zeros((SIDE, SIDE, 3), np.uint8), r"\(32, 32, 3\)"),
        (np.zeros((16, SIDE, SIDE, 3), np.float32), "float32"),
        (np.zeros((7, SIDE, SIDE, 3), np.uint8), "7 calibration images.*onnx:int8.*at least 8"),
        (np.zeros((0, SIDE, SIDE, 3), np.uint8), "0 calibration images"),
    ],
)
def test_calibration_images_that_do_not_fit(bundle, photos, untouched, images, problem):
    with pytest.raises(InputError, match=problem):
        export_student(bundle, ["onnx:int8"], untouched, photos=photos, calibration=images)


def test_too_few_training_photos_matter_to_integers_only(bundle, photos, untouched):
    few = replace(photos, train=photos.train[:7])
    with pytest.raises(InputError, match="onnx:int8"):
        export_student(bundle, ["onnx:fp32", "onnx:int8"], untouched, photos=few, max_drop=DROP)
    assert export_student(bundle, ["onnx:fp32"], untouched, photos=few, max_drop=DROP).files


def test_an_operator_that_no_phone_has(bundle, photos, untouched, tmp_path, monkeypatch):
    """Forced over another student's exports, which stand as long as there is nothing better."""
    monkeypatch.setitem(FORMATS, "bad", misbehaving.FORMAT)
    other = make_student("mobilenetv3_small_050", photos, tmp_path / "other", seed=1)
    targets = [f"bad:unsupported-{name}" for name in ("litert", "coreml", "onnx")]
    with pytest.raises(GateError) as caught:
        export_student(other, targets, untouched, photos=photos, max_drop=DROP, force=True)
    for target in targets:
        assert f"{target}: the converter failed" in str(caught.value)
    assert str(caught.value).count("linalg_svd") >= len(targets)


DISK = """
import subprocess, sys
from pathlib import Path
from attar.bundle import read_bundle
from attar.data.photos import DataSpec, read_photos
from attar.errors import InputError
from attar.files import sha256, size
from attar.export.export import export_student
exported, bundle, data, disk = map(Path, sys.argv[1:])
def mount(*options):
    if subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", disk], stderr=subprocess.DEVNULL).returncode:
        sys.exit(77)
mount("-o", f"size={size(exported) // 1024 + 200}k")
subprocess.run(["cp", "-r", exported, disk / "exports"], check=True)
before = sha256(disk / "exports")
photos = read_photos(DataSpec(str(data)))
for problem in ("the disk is full", "the file system is read-only"):
    try:
        export_student(bundle, ["onnx:fp16"], disk / "exports", photos=photos, max_drop=20.0)
        sys.exit(f"no error, though {problem}")
    except InputError as error:
        assert problem in str(error), error
    assert sha256(disk / "exports") == before, "exports changed"
    mount("-o", "remount,ro")
"""


def test_a_full_and_a_read_only_disk(exported, bundle, shapes, tmp_path):
    (tmp_path / "disk").mkdir()
    script = [sys.executable, "-c", DISK, *map(str, (exported, bundle.path, shapes, tmp_path / "disk"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        command = ["unshare", "--user", "--map-root-user", "--mount", *script]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        pytest.skip("no unshare command here")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("a small disk cannot be mounted here")
    assert done.returncode == 0, done.stderr


def test_a_folder_that_cannot_be_made(bundle, photos, exported):
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        export_student(bundle, ["onnx:fp32"], exported / "manifest.json" / "exports", photos=photos)
    assert read_manifest(exported).files
