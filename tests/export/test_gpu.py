"""LiteRT files on WebGPU, in Chromium with an adapter made of software."""

from __future__ import annotations

import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from attar.errors import GateError, InputError, Unsupported
from attar.export.capture_output import captured
from attar.export.export import export_student
from attar.export.litert import IMAGE, PROBABILITIES, _ChannelsLast
from attar.export.manifest import FileEntry, read_manifest
from attar.export.plan import QuantizationPlan
from attar.export.tflite import graph
from attar.export.tflite.quantize import Quantization
from attar.export.verify import verify
from attar.export.web import assets, gpu
from attar.preprocessing import MEAN, STD
from attar.students.rewrites import phone_safe
from helpers.browser import chromium
from helpers.small import DROP, make_student

Interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
FILES = ["litert-fp32.tflite", "litert-w8.tflite", "litert-int8.tflite"]


@pytest.fixture(autouse=True)
def installed(request, monkeypatch) -> None:
    if "runtimes" in request.fixturenames:
        chromium()
        folder = request.getfixturevalue("runtimes").folder
        monkeypatch.setattr(assets, "place", lambda: folder)


@pytest.fixture(scope="module")
def student(photos, tmp_path_factory):
    return make_student("mobilenetv3_small_050", photos, tmp_path_factory.mktemp("student") / "bundle")


@pytest.fixture(scope="module")
def folder(student, photos, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gpu") / "exports"
    export_student(
        student, ["litert:fp32", "litert:w8", "litert:int8", "onnx:fp32"], path, photos=photos, max_drop=DROP
    )
    return path


@pytest.mark.slow
def test_files_run_on_webgpu_and_say_how_many_operators_did(runtimes, folder, student, photos):
    manifest = verify(folder, bundle=student, photos=photos, max_drop=DROP, gpu=True)
    on_gpu = {entry.file: opinion_of(entry) for entry in manifest.files if entry.target.startswith("litert:")}
    assert list(on_gpu) == FILES and manifest == read_manifest(folder)
    for opinion in on_gpu.values():
        assert opinion["evaluator"].startswith(f"LiteRT.js {runtimes.versions['@litertjs/core']} on WebGPU, ")
        assert f"{opinion['on_gpu']} of {opinion['operators']} operators" in opinion["evaluator"]
        # One step of an integer moves a probability that is near a half by a tenth.
        assert opinion["images"] == len(photos.val) and opinion["max_abs_difference"] < 0.3
    whole, weights, _ = on_gpu.values()
    assert whole["on_gpu"] == whole["operators"] and whole["max_abs_difference"] < 1e-4
    assert 0 < weights["on_gpu"] < weights["operators"]
    remark = next(entry for entry in manifest.files if entry.file == FILES[1]).verification["remark"]
    assert f"leaves {weights['operators'] - weights['on_gpu']} of {weights['operators']} operators to the CPU" in remark
    assert "DEQUANTIZE" in remark


@pytest.mark.slow
def test_strided_points_in_integers_are_right_there(runtimes, tmp_path):
    """Without `lengthen_strided_points` probabilities are off by a half, and nothing says so."""
    import litert_torch
    import torch
    from torch import nn

    torch.manual_seed(0)
    points = [each for _ in range(2) for each in (nn.Conv2d(64, 64, 1, 2), nn.ReLU())]
    end = (nn.Flatten(), nn.Linear(64 * 4 * 4, 5))
    network = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), *points, *end).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    with torch.no_grad(), captured():
        network[-1].weight.mul_(100)
        made = litert_torch.convert(_ChannelsLast(phone_safe(network)).eval(), (torch.zeros(1, 32, 32, 3),))
        made.export(str(tmp_path / "float.tflite"))
        images = (pixels.astype(np.float32) - MEAN) / STD
        model = graph.read(Quantization((tmp_path / "float.tflite").read_bytes(), images).quantize(QuantizationPlan()))
    graph.with_image_input(model, IMAGE)
    graph.name_outputs(model, [PROBABILITIES])
    (tmp_path / "int8.tflite").write_bytes(graph.write(model))
    with captured():
        interpreter = Interpreter(str(tmp_path / "int8.tflite"), num_threads=1)
        run = interpreter.get_signature_runner()
        right = np.concatenate([next(iter(run(**{IMAGE: one[None]}).values())) for one in pixels])
    answers = gpu.GpuRunner(tmp_path / "int8.tflite").answers(pixels)
    assert right.std() > 0.1 and np.abs(answers - right).max() < 0.01


def opinion_of(entry: FileEntry) -> dict:
    return entry.verification["second_opinions"][gpu.NAME]


@pytest.mark.slow
def test_a_file_that_the_gpu_computes_otherwise_fails(runtimes, folder, student, photos, tmp_path, monkeypatch):
    exports = Path(shutil.copytree(folder, tmp_path / "exports"))
    first = gpu.GpuRunner.answers
    monkeypatch.setattr(gpu.GpuRunner, "answers", lambda self, pixels: first(self, pixels)[::-1])
    with pytest.raises(GateError, match=r"litert:fp32: .*LiteRT on WebGPU diverges from the first evaluator"):
        verify(exports, bundle=student, photos=photos, max_drop=DROP, gpu=True)


@pytest.mark.slow
def test_what_is_no_model_fails_with_what_the_browser_says(runtimes, folder, tmp_path):
    path = tmp_path / "damaged.tflite"
    path.write_bytes((folder / FILES[0]).read_bytes()[:2000])
    with pytest.raises(GateError):
        gpu.GpuRunner(path).answers(np.zeros((1, 32, 32, 3), np.uint8))


def answer(monkeypatch, **result: object) -> None:
    """Have the browser say this."""
    monkeypatch.setattr(gpu.GpuRunner, "_answer", lambda self, content, pixels: result)


def test_a_file_of_which_nothing_runs_on_the_gpu_is_said_to_be_so(runtimes, folder, monkeypatch):
    said = ["ERROR: Following operations are not supported by GPU delegate:", "ERROR: CUSTOM Odd: no.", "other"]
    answer(monkeypatch, whole=False, on_gpu=False, said=said, answers=[], adapter="a b")
    with pytest.raises(Unsupported, match=r"takes none of its \d+ operators: CUSTOM Odd: no\.$"):
        gpu.GpuRunner(folder / FILES[0]).answers(np.zeros((1, 32, 32, 3), np.uint8))


def test_an_error_in_the_page_fails_the_file(runtimes, folder, monkeypatch):
    answer(monkeypatch, error="Error: this browser has no WebGPU adapter", said=["more"])
    with pytest.raises(GateError, match="no WebGPU adapter\nmore"):
        gpu.GpuRunner(folder / FILES[0]).answers(np.zeros((1, 32, 32, 3), np.uint8))


def test_what_is_missing_is_named_before_any_work(folder, student, photos, monkeypatch, tmp_path):
    asked = {"bundle": student, "photos": photos, "gpu": True}
    monkeypatch.setattr(assets, "place", lambda: tmp_path / "none")
    if shutil.which("chromium"):
        with pytest.raises(InputError, match="attar lab --install"):
            verify(folder, **asked)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--gpu needs a Chromium"):
        verify(folder, **asked)
    only = tmp_path / "exports"
    export_student(student, ["onnx:fp32"], only, photos=photos, max_drop=DROP)
    with pytest.raises(InputError, match="--gpu runs LiteRT files, and there is none here"):
        verify(only, **asked)


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[str, list[bytes]]]:
    (tmp_path / "page.html").write_text("<p>")
    posted: list[bytes] = []
    with gpu._serving({"/": tmp_path / "page.html"}, {"/model": b"content"}, posted, threading.Event()) as url:
        yield url, posted


def get(url: str, data: bytes | None = None) -> bytes:
    with urllib.request.urlopen(url, data=data, timeout=600) as answer:
        return bytes(answer.read())


def test_only_what_is_listed_is_served_and_only_answers_are_taken(served):
    url, posted = served
    assert url.startswith("http://127.0.0.1:") and get(url) == b"<p>" and get(f"{url}model?x") == b"content"
    for wrong in ("page.html", "../../etc/passwd", "//etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(url + wrong)
    for place, data in (("elsewhere", b"{}"), ("answers", b"")):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            get(url + place, data)
    get(f"{url}answers", b"{}")
    assert posted == [b"{}"]
