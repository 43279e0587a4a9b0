"""ExecuTorch files of a real student, where the package is installed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from attar.benchmarks.latency.op_profile import profile_of
from attar.benchmarks.runtimes import executorch, runtime_for
from attar.data.photos import DataSpec, load_pixels, read_photos
from attar.export.capture_output import captured
from attar.export.export import export_student
from attar.export.runners import open_runner
from attar.inference import predict
from attar.students import load
from helpers.small import SIDE, make_student

pytest.importorskip("executorch")
pytestmark = pytest.mark.slow


def test_a_student_as_pte_files(shapes, tmp_path):
    photos = read_photos(DataSpec(str(shapes)))
    bundle = make_student("mobilenetv4_conv_small_035", photos, tmp_path / "bundle")
    targets = ["executorch:fp32", "executorch:int8+fp"]
    manifest = export_student(bundle, targets, tmp_path / "exports", photos=photos, max_drop=20.0)
    plain, integer = manifest.files
    assert [plain.target, integer.target] == targets
    assert integer.recovery["layers"] == [] and len(integer.recovery["ranges"]) == 4  # nothing had to stay float
    assert integer.bytes < 0.6 * plain.bytes and plain.verification["max_abs_error"] < 1e-3
    pixels = load_pixels(photos.val, bundle.preprocessing)
    with captured():
        sessions = [
            runtime_for("executorch").load(str(tmp_path / "exports" / entry.file), 1) for entry in manifest.files
        ]
    for session in sessions:
        assert session.shape == (1, SIDE, SIDE, 3)
        session.set_input(pixels[:1])
    for session in sessions * 2:
        session.infer()
    for session in sessions:
        session.close()
    path = tmp_path / "exports" / integer.file
    profile = profile_of("executorch", path, 1)
    kinds = {each["operator"] for each in profile.operators}
    assert any(kind.startswith("Convolution") for kind in kinds) and len(profile.operators) > 50
    for run in executorch.profile(str(path), 1, 3):  # of each operator, half a microsecond may be rounding
        total = sum(each["nanoseconds"] for each in run.operators)
        assert 0 < total <= run.inference + 500 * len(run.operators)
    runner = open_runner(tmp_path / "exports" / plain.file)
    assert runner.labels == bundle.labels
    np.testing.assert_allclose(runner.predict(pixels), predict(load(bundle), pixels), atol=1e-4)
    command = [sys.executable, str(tmp_path / "exports" / "snippets" / "classify_executorch.py")]
    done = subprocess.run([*command, str(photos.val[0].path)], capture_output=True, text=True, check=True)
    shown = {label: float(value) for value, label in (line.split(" ", 1) for line in done.stdout.splitlines())}
    [expected] = open_runner(tmp_path / "exports" / integer.file).predict(pixels[:1])
    assert shown == pytest.approx(dict(zip(bundle.labels, expected.tolist())), abs=1e-3)
