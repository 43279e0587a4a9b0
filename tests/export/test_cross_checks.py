"""Second opinions of exported files: that they are asked, kept, and believed when they differ."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from attar.errors import GateError, InputError
from attar.export import litert, onnx
from attar.export.manifest import read_manifest
from attar.export.subprocess_runner import SubprocessRunner
from attar.export.targets import Target
from attar.export.tflite import arm, evaluators
from attar.export.verify import OPINION_PHOTOS, check, student_reference, verify
from helpers.small import DROP

pytest.importorskip("ai_edge_litert")


class Biased:
    """An evaluator that is off by `by` for every photo."""

    def __init__(self, path: Path, by: float, seen: list[int]) -> None:
        self.evaluator, self._runner, self._by, self._seen = f"off by {by}", onnx.open_runner(path), by, seen

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        self._seen.append(len(pixels))
        outputs = self._runner.predict(pixels)
        return outputs * (1 - self._by) + self._by * np.eye(outputs.shape[1], dtype=np.float32)[0]


def opinions_of(monkeypatch, by: float) -> list[int]:
    seen: list[int] = []
    monkeypatch.setattr(onnx, "second_opinions", lambda path: {"Biased": lambda: Biased(path, by, seen)}, raising=False)
    return seen


def test_an_opinion_that_agrees_is_kept_with_what_it_measured(exported, bundle, photos, monkeypatch):
    opinions_of(monkeypatch, 0.0)
    reference = student_reference(bundle, photos, 1000)
    entry = check(exported / "onnx-fp32.onnx", Target("onnx", "fp32"), reference, DROP)
    kept = entry.verification["second_opinions"]["Biased"]
    first = read_manifest(exported).files[3].verification
    assert kept["evaluator"] == "off by 0.0" and kept["max_abs_difference"] < 1e-5
    assert kept["images"] == len(photos.val) and kept["top1"] == first["top1"] == entry.verification["top1"]


@pytest.mark.parametrize("by", [0.01, 0.5])
def test_an_opinion_that_differs_fails_the_file_and_is_named(exported, bundle, photos, monkeypatch, by):
    opinions_of(monkeypatch, by)
    with pytest.raises(GateError, match="Biased diverges from the first evaluator"):
        check(exported / "onnx-fp32.onnx", Target("onnx", "fp32"), student_reference(bundle, photos, 1000), DROP)


def test_a_second_evaluator_sees_a_bounded_number_of_photos_evenly_spread(exported, bundle, photos, monkeypatch):
    from dataclasses import replace

    seen = opinions_of(monkeypatch, 0.0)
    reference = student_reference(bundle, photos, 1000)
    many = [np.concatenate([part] * 9) for part in (reference.pixels, reference.labels, reference.probabilities)]
    reference = replace(reference, pixels=many[0], labels=many[1], probabilities=many[2])
    check(exported / "onnx-fp32.onnx", Target("onnx", "fp32"), reference, DROP)
    assert seen == [OPINION_PHOTOS] and len(reference.pixels) > OPINION_PHOTOS


def test_without_tensorflow_there_is_no_second_opinion_of_litert(exported):
    assert sys.modules["tensorflow"] is None  # the tests hide it, see conftest.py
    assert litert.second_opinions(exported / "litert-fp32.tflite") == {}


@pytest.mark.optional
@pytest.mark.slow
@pytest.mark.parametrize("file", ["litert-fp32.tflite", "litert-fp16.tflite", "litert-int8.tflite"])
def test_tensorflow_with_reference_kernels_agrees(exported, bundle, photos, monkeypatch, file):
    monkeypatch.delitem(sys.modules, "tensorflow")
    if not evaluators.has_tensorflow():
        pytest.skip("tensorflow is not installed")
    entry = check(
        exported / file, Target("litert", file[7:].partition(".")[0]), student_reference(bundle, photos, 1000), DROP
    )
    kept = entry.verification["second_opinions"][evaluators.TENSORFLOW]
    assert kept["evaluator"].startswith("TensorFlow 2.") and "reference" in kept["evaluator"]
    # One step of an integer moves a probability that is near a half by a tenth and more, and with it the answer.
    if "int8" in file:
        assert kept["max_abs_difference"] < 0.3
    else:  # both are held against the student, so what the file's own rounding changes is in both
        assert kept["max_abs_difference"] < 1e-5 and kept["clear_agreement"] == entry.verification["clear_agreement"]


def test_a_process_that_crashes_or_fails_is_reported_with_what_it_said(exported):
    runner = SubprocessRunner(
        exported / "labels.json", "x", [sys.executable, evaluators.SCRIPT], ["optimized"], dict(os.environ)
    )
    with pytest.raises(GateError, match="exit code 1"):
        runner.answers(np.zeros((1, 32, 32, 3), np.uint8))


# --- ARM -----------------------------------------------------------------------------------------


def tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755 | stat.S_IXUSR)


def test_arm_without_its_tools_says_what_to_install(exported, bundle, photos, tmp_path, monkeypatch):
    if arm.native():
        pytest.skip("this machine is an ARM")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    before = (exported / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=r"qemu-aarch64.*apt install qemu-user mmdebstrap"):
        verify(exported, bundle=bundle, photos=photos, max_drop=DROP, arm=True)
    tool(tmp_path / "bin", "qemu-aarch64", "echo 'qemu-aarch64 version 7.2.22 (Debian 1:7.2)'")
    with pytest.raises(InputError, match=r"qemu 7\.2\.22, in which LiteRT crashes"):
        verify(exported, bundle=bundle, photos=photos, max_drop=DROP, arm=True)
    tool(tmp_path / "bin", "qemu-aarch64", "echo 'qemu-aarch64 version 10.0.2 (Debian 1:10.0)'")
    with pytest.raises(InputError, match="mmdebstrap"):
        verify(exported, bundle=bundle, photos=photos, max_drop=DROP, arm=True)
    tool(tmp_path / "bin", "mmdebstrap", "echo 'E: no mirror' >&2; exit 1")
    with pytest.raises(InputError, match=r"(?s)mmdebstrap failed.*no mirror"):
        arm.machine()
    assert not [path for path in arm._cache().iterdir() if path.suffix != ".lock"]
    assert (exported / "manifest.json").read_bytes() == before


def test_arm_without_a_litert_file_is_refused(exported, bundle, photos, tmp_path):
    from dataclasses import replace

    from attar.export.manifest import write_manifest

    manifest = read_manifest(exported)
    write_manifest(replace(manifest, files=manifest.files[3:]), tmp_path)
    with pytest.raises(InputError, match="no"):
        verify(tmp_path, bundle=bundle, photos=photos, max_drop=DROP, arm=True)


@pytest.mark.optional
@pytest.mark.slow
def test_litert_on_an_emulated_arm_gives_the_same(exported, bundle, photos, tmp_path):
    if arm.native() or not shutil.which("qemu-aarch64") or not shutil.which("mmdebstrap"):
        pytest.skip("qemu-aarch64 and mmdebstrap are not installed, or this machine is an ARM")
    folder = shutil.copytree(exported, tmp_path / "exports")
    manifest = verify(folder, bundle=bundle, photos=photos, max_drop=DROP, arm=True)
    kept = {e.target: e.verification["second_opinions"].get(evaluators.ARM) for e in manifest.files}
    for target, opinion in kept.items():
        assert (opinion is not None) == target.startswith("litert:")
        if opinion:
            assert "ARM" in opinion["evaluator"] and opinion["max_abs_difference"] < 1e-3
