"""`attar run` for real: every stage, killed at every stage, and tampered with afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attar.files import sha256
from helpers import warm
from helpers.command import Attar, in_process
from helpers.unprivileged import bound_by_permissions

ROOT = Path(__file__).parents[2]
RECIPE = """
data: {path: PHOTOS}
views: {crop_area: [0.7, 1.0], count: 3}
teacher:
  name: vit_tiny_patch16_224
  pretrained: false
  options: {img_size: 48, patch_size: 12, embed_dim: 48, depth: 2, num_heads: 2}
  crop: 1.0
  epochs: 12
  batch_size: 8
  layer_decay: 1.0
  checkpoint_seconds: 0
student:
  name: mobilenetv4_conv_small_035
  pretrained: false
  head_width: 64
  size: 32
  crop: 1.0
  epochs: 24
  batch_size: 6
  lr: 0.004
  checkpoint_seconds: 0
  check_teacher: false
targets: [litert:int8, coreml:fp16, onnx:fp32]
max_drop: 25 # of twelve photos
bench: {seconds: 0.5}
author: Ada
license: CC-BY-4.0
"""

pytestmark = pytest.mark.slow


def start(*words: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(warm.attar(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def attar(*words: object) -> tuple[int, str, str]:
    process = start(*words)
    out, err = process.communicate(timeout=600)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Attar:
    return in_process(monkeypatch, capfd)


Attar = Attar


@pytest.fixture(scope="module")
def recipe(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(RECIPE.replace("PHOTOS", json.dumps(str(shapes))))
    return path


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    output = tmp_path_factory.mktemp("run") / "whole"
    code, _, err = attar("run", recipe, "-o", output)
    assert code == 0, err
    return output


def test_a_run_leaves_everything_it_promises(finished: Path) -> None:
    manifest = json.loads((finished / "exports" / "manifest.json").read_text())
    assert [entry["target"] for entry in manifest["files"]] == ["litert:int8", "coreml:fp16", "onnx:fp32"]
    assert manifest["failed"] == []
    for entry in manifest["files"]:
        assert sha256(finished / "exports" / entry["file"]) == entry["sha256"]
        assert entry["verification"]["images"] == 12
        assert entry["decision"]["images"] == 12 and "59 can" in entry["decision"]["sure"]["reason"]
        assert entry["decision"]["set"]["coverage"] == 0.9
    card = (finished / "exports" / "MODEL_CARD.md").read_text()
    assert "Author: Ada" in card and "Licence: CC-BY-4.0" in card
    for file in ("litert-int8.tflite", "onnx-fp32.onnx", "coreml-fp16.mlpackage/Data/com.apple.CoreML/model.mlmodel"):
        content = (finished / "exports" / file).read_bytes()
        assert b"Ada" in content and b"CC-BY-4.0" in content, file
    assert "<html" in (finished / "report.html").read_text()
    report = json.loads((finished / "report.json").read_text())
    assert any("confidence was calibrated on 12 validation photos" in note for note in report["notes"])
    assert (finished / "recipe.yaml").is_file() and (finished / "report.json").is_file()
    records = [json.loads(line) for line in (finished / "benchmarks.jsonl").read_text().splitlines()]
    assert {r["sha256"] for r in records} == {e["sha256"] for e in manifest["files"] if "coreml" not in e["target"]}
    assert not list(finished.rglob(".tmp-*")) and not list(finished.rglob("*.training.pt"))


MARKS = [
    ("checking photos", "run.json"),
    ("fitting the teacher", "teacher.training.pt"),
    ("storing its answers", "teacher-cache/cache.json"),
    ("training the student", "student.training.pt"),
    ("exporting", "student/bundle.json"),
    ("measuring", "exports/manifest.json"),
]


def test_killed_at_every_stage_it_ends_in_the_same_student(recipe: Path, finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    for stage, mark in MARKS:
        process = start("run", recipe, "-o", output)
        while not (output / mark).exists() and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, f"ended before it could be killed while {stage}"
        time.sleep(0.3)  # somewhere inside the stage
        process.send_signal(signal.SIGKILL)
        process.communicate()  # until nothing of it is left
        assert (output / mark).exists(), stage
    code, _, err = attar("run", recipe, "-o", output)
    assert code == 0, err
    for bundle in ("teacher", "student"):
        weights = f"{bundle}/model.safetensors"
        assert sha256(output / weights) == sha256(finished / weights), bundle
    assert (output / "report.html").is_file()


def test_a_folder_of_another_run_is_refused(recipe: Path, finished: Path, here: Attar) -> None:
    before = sha256(finished)
    code, _, err = here("run", recipe, "-o", finished, "--set", "seed=1")
    assert code == 2 and "another run" in err
    assert sha256(finished) == before


@pytest.mark.parametrize("target", ["litert:int8", "coreml:fp16", "onnx:fp32"])
def test_one_changed_byte_is_caught_and_named(target: str, finished: Path, tmp_path: Path, here: Attar) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    manifest = json.loads((copy / "exports" / "manifest.json").read_text())
    name = next(entry["file"] for entry in manifest["files"] if entry["target"] == target)
    path = copy / "exports" / name
    victim = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size) if path.is_dir() else path
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    code, _, err = here("verify", copy)
    assert code == 1 and name in err
    after = json.loads((copy / "exports" / "manifest.json").read_text())
    assert target not in [entry["target"] for entry in after["files"]]


def test_single_verbs_on_a_finished_run(finished: Path, tmp_path: Path, here: Attar) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    code, out, err = here("verify", copy / "exports", "--json")
    assert code == 0 and len(json.loads(out)["files"]) == 3, err
    lab = ("--history", copy / "lab.sqlite")
    code, out, err = here("bench", copy, "--seconds", "0.5", "--threads", "2", *lab, "--tag", "v1", "--json")
    records = json.loads(out)["records"]
    assert code == 0 and all(len(r["samples"]) >= 5 and r["threads"] == 2 for r in records), err
    half = ("--against", "v1", "--fail-if", "size > 0.5x baseline")
    code, out, err = here("bench", copy, "--seconds", "0.1", "--threads", "2", *lab, *half)
    assert code == 1 and "Slower or larger than the baseline: " in err and "failed" in out, err
    code, out, err = here("history", copy / "lab.sqlite", "--json")
    assert code == 0 and [each["tags"] for each in json.loads(out)] == [["v1"]] * len(records) + [[]] * len(records), (
        err
    )
    code, out, err = here("compare", copy, "--json")
    assert code == 0 and json.loads(out), err
    (copy / "report.html").unlink()
    code, _, err = here("report", copy)
    assert code == 0 and (copy / "report.html").stat().st_size < 5_000_000, err
    code, out, err = here("export", copy / "student", "-t", "onnx:int8", "--max-drop", "25", "--json")
    assert code == 0, err
    assert "onnx:int8" in [entry["target"] for entry in json.loads(out)["files"]]


def sets(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def verbs(run: Path, shapes: Path, output: Path) -> list[list[str]]:
    """Every verb that ends by itself, as it is used on a finished run; each writes into `output`."""
    student, exports, loose = str(run / "student"), run / "exports", ["--max-drop", "50"]
    bench = ["bench", str(run), "--seconds", "0.2", "-o", str(output), "--history", str(output / "lab.sqlite")]
    tiny = [
        "teacher.name=vit_tiny_patch16_224",
        "teacher.options={img_size: 48, patch_size: 12, embed_dim: 48, depth: 1, num_heads: 2}",
    ]
    small = ["student.name=mobilenetv4_conv_small_035", "student.size=32", "student.check_teacher=false"]
    for part, overrides in (("teacher", tiny), ("student", small)):
        overrides += [f"{part}.pretrained=false", f"{part}.epochs=1"]
    return [
        ["teach", "--data", str(shapes), "-o", str(output / "teacher"), *sets(*tiny)],
        ["distill", "--data", str(shapes), "-o", str(output / "student"), *sets(*small)],
        ["teachers", "vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        ["students", "mobilenetv3_large_100", "tf_efficientnet_lite0"],
        ["export", student, "-t", "onnx:fp32", "-o", str(output / "exports"), *loose],
        ["verify", str(run), *loose],
        [*bench, "--tag", "a-tag-that-is-longer-than-most", "--operators"],
        [*bench, "--against", "a-tag-that-is-longer-than-most", "--fail-if", "p50 > 100x baseline"],
        ["history", str(output / "lab.sqlite")],
        ["compare", str(run)],
        ["compare", str(exports / "litert-int8.tflite"), str(exports / "onnx-fp32.onnx")],
        ["predict", str(run), str(shapes / "circle")],
        ["report", str(run), "-o", str(output)],
        ["shortfall", student, "-o", str(output / "shortfall")],
        ["doctor"],
    ]


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_every_verb_prints_tables_of_80_columns_or_json_alone(
    as_json: bool, finished: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Attar
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for words in verbs(finished, shapes, tmp_path):
        code, printed, err = here(*words, *(["--json"] if as_json else []))
        assert code == 0, err
        if as_json:
            assert json.loads(printed), words
        else:
            assert "\N{HORIZONTAL ELLIPSIS}" not in printed and max(map(len, printed.splitlines()), default=0) <= 80, (
                words
            )
            assert printed or words[0] in ("teach", "distill", "report"), words


@pytest.mark.parametrize(("home", "verb"), [("none", "predict"), ("read-only", "verify")])
def test_verbs_need_no_home(home: str, verb: str, finished: Path, shapes: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    if home == "read-only":
        (tmp_path / "home").mkdir(mode=0o555)
        environment["HOME"] = str(tmp_path / "home")
    more = {"predict": [shapes / "circle" / "0.png"], "verify": ["--max-drop", "50"]}[verb]
    command = bound_by_permissions([sys.executable, "-m", "attar", *map(str, [verb, finished, *more])])
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
