"""The command line as a user meets it: help, errors, exit codes, JSON. Each test is a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import warm

ROOT = Path(__file__).parents[3]
VERBS = [
    "quickstart",
    "run",
    "teach",
    "teachers",
    "students",
    "distill",
    "export",
    "verify",
    "bench",
    "lab",
    "history",
    "compare",
    "predict",
    "geo",
    "report",
    "shortfall",
    "doctor",
]
TINY_TEACHER = [
    "teacher.name=vit_tiny_patch16_224",
    "teacher.pretrained=false",
    "teacher.epochs=1",
    "teacher.crop=1.0",
    "teacher.options={img_size: 48, patch_size: 12, embed_dim: 48, depth: 1, num_heads: 2}",
    "teacher.batch_size=12",
]
TINY_STUDENT = [
    "student.name=mobilenetv4_conv_small_035",
    "student.pretrained=false",
    "student.size=32",
    "student.epochs=1",
    "student.head_width=32",
    "student.batch_size=12",
    "student.check_teacher=false",
]


def attar(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(warm.attar(*words), capture_output=True, text=True, env=environment, cwd=cwd, timeout=300)


def sets(overrides: list[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def fails(result: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    """One message, no traceback, the right exit code."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    for text in texts:
        assert text in result.stderr


def test_ctrl_c_says_that_the_same_command_continues() -> None:
    code = (
        "import sys, attar.cli, attar.cli.installed as doctor\n"
        "def stop(): raise KeyboardInterrupt\n"
        "doctor.examine, sys.argv = stop, ['attar', 'doctor']\n"
        "attar.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    fails(done, 130, "Run the same command again")


def breaking(how: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`attar doctor` whose work raises what is given."""
    code = (
        "import sys, attar.cli, attar.cli.installed as doctor\n"
        f"def stop(): {how}\n"
        f"doctor.examine, sys.argv = stop, ['attar', 'doctor', *{list(words)!r}]\n"
        "attar.cli.main()"
    )
    environ = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environ)


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("raise ValueError('first line\\nsecond')", 70, "Error: ValueError: first line"),
        ("raise RuntimeError('no group')", 70, "RuntimeError: no group"),
        ("stop()", 70, "RecursionError"),
        ("raise KeyError('x')", 70, "KeyError"),
        ("raise MemoryError", 2, "Out of memory"),
        ("open('/no/such/place')", 2, "/no/such/place: No such file"),
        ("raise OSError(28, 'No space left on device', 'a')", 2, "a: No space left"),
        ("'\\u00e9'.encode('ascii')", 2, "PYTHONIOENCODING"),
    ],
)
def test_whatever_goes_wrong_is_one_message(how: str, code: int, text: str) -> None:
    done = breaking(how)
    fails(done, code, text)
    assert len(done.stderr.splitlines()) <= 2 and "second" not in done.stderr
    for shown in (breaking(how, "--debug"), breaking(how, ATTAR_DEBUG="1")):
        assert shown.returncode == code and "Traceback" in shown.stderr and text in shown.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m attar teachers --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr and "Error" not in done.stderr


def test_help_lists_every_verb() -> None:
    result = attar("--help")
    assert result.returncode == 0 and all(verb in result.stdout for verb in VERBS)


def test_help_loads_no_heavy_package() -> None:
    code = "import sys, attar.cli; print([m for m in ('torch', 'timm', 'numpy', 'coremltools') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    result = attar(verb, "--help")
    assert result.returncode == 0
    assert f"attar {verb}" in result.stdout.split("Example", 1)[1] and "--json" in result.stdout


def test_doctor_lists_versions_and_what_they_enable() -> None:
    import torch

    parts = json.loads(attar("doctor", "--json").stdout)
    assert parts["packages"]["torch"] == torch.__version__.split("+")[0]
    assert {"litert-torch", "coremltools", "onnxruntime"} <= {item["package"] for item in parts["optional"]}
    assert all(item["enables"] and item["extra"] for item in parts["optional"])
    shown = attar("doctor")
    assert shown.returncode == 0 and "export to LiteRT" in shown.stdout


def test_teachers_are_joined(shapes: Path, tmp_path: Path) -> None:
    from attar import teachers

    options = {"img_size": 48, "patch_size": 12, "embed_dim": 48, "depth": 1, "num_heads": 2}
    for name in ("a", "b"):
        member = teachers.create_teacher("vit_tiny_patch16_224", 3, options=options)
        teachers.save(member, tmp_path / name, labels=("circle", "cross", "square"))
    joined = ("--ensemble", tmp_path / "a", "--ensemble", tmp_path / "b", "--weight", 2, "--weight", 1)
    made = attar("teach", "--data", shapes, *joined, "-o", tmp_path / "both", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["name"] == "ensemble"
    about = json.loads((tmp_path / "both" / "bundle.json").read_text())
    assert [round(weight, 3) for weight in about["architecture"]["weights"]] == [0.667, 0.333]


def test_teach_then_distill_by_single_verbs(shapes: Path, tmp_path: Path) -> None:
    taught = attar("teach", "--data", shapes, "-o", tmp_path / "t", "--json", *sets(TINY_TEACHER))
    assert taught.returncode == 0, taught.stderr
    assert json.loads(taught.stdout)["kind"] == "teacher"
    data = json.loads(taught.stdout)["data"]
    assert data["layout"] == "a folder per class, split by attar" and data["skipped"] == [] and data["notes"] == []
    assert sum(data["photos_per_class"].values()) == data["train"] + data["val"] > 0
    student = attar(
        "distill",
        "--teacher",
        tmp_path / "t",
        "--data",
        shapes,
        "-o",
        tmp_path / "s",
        "--json",
        *sets([*TINY_STUDENT, "views.count=1"]),
    )
    assert student.returncode == 0, student.stderr
    assert json.loads(student.stdout)["metrics"]["images"] == 12
    again = attar("distill", "--data", shapes, "-o", tmp_path / "s", *sets(TINY_STUDENT))
    fails(again, 2, "exists already", "--output")


def test_bad_input_ends_with_one_message_and_leaves_nothing(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    run = ["run", "-o", out]
    fails(attar(*run), 2, "No photos given")
    fails(attar(*run, "--data", tmp_path / "none"), 2, "none", "no such folder")
    fails(attar(*run, "--data", tmp_path / "empty"), 2, "no images found")
    fails(attar(*run, "--data", shapes, "--set", "student.nmae=x"), 2, "student.nmae", "'name'")
    fails(attar(*run, "--data", shapes, "--set", "student.name=mobilnetv3_small"), 2, "mobilenetv3_small_100")
    fails(attar(*run, "--data", shapes, "--set", "targets=[litert:int9]"), 2, "litert:int9", "litert:int8")
    fails(attar(*run, tmp_path / "none.yaml"), 2, "none.yaml")
    fails(attar("export", tmp_path / "empty"), 2, "not a bundle")
    fails(attar("verify", tmp_path / "empty"), 2, "manifest.json")
    assert attar("exprot").returncode == 2
    leftovers = {p.name for p in out.rglob("*")} if out.exists() else set()
    assert leftovers <= {"run.json", "recipe.yaml", ".lock"}


def test_a_folder_with_other_files_is_refused(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    fails(attar("run", "--data", shapes, "-o", tmp_path), 2, "not a run of attar")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_runs_are_judged_on_photos_that_neither_was_trained_on(tmp_path: Path) -> None:
    """Of two, one of which went on from the other, on those that the later one held out."""
    from attar import students
    from attar.cli.compare import _judge
    from attar.preprocessing import Preprocessing

    def saved(name: str, **provenance: Any) -> Any:
        student = students.create_student("mobilenetv4_conv_small_035", 2, head_width=8)
        return students.save(
            student, tmp_path / name, labels=("a", "b"), preprocessing=Preprocessing(32), provenance=provenance
        )

    old = saved("old")
    new = saved("new", continued_from={"fingerprint": old.fingerprint})
    other = saved("other")
    assert _judge(old.path, new.path, None).path == _judge(new.path, old.path, None).path == new.path
    assert _judge(old.path, other.path, None).path == old.path
    assert _judge(old.path, new.path, other.path).path == other.path, "who names a bundle is believed"
    assert _judge(old.path, tmp_path / "a.tflite", None).path == old.path
