"""What earlier versions wrote is read, or refused in one sentence: run folder, bundles, exports, records, history.

`tests/data/v0.1.tar.xz` was written by version 0.1, `later.tar.xz` just before the folders were rearranged; both by
`attar run recipe.yaml -o run` and `attar bench run --history history.sqlite --tag first`, on drawn photos.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from helpers.command import Attar, in_process
from helpers.pictures import SHAPES, draw

ARCHIVES = Path(__file__).parents[1] / "data"
VERSIONS = ("v0.1", "later")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=VERSIONS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that an earlier version wrote, and its photos."""
    root = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVES / f"{request.param}.tar.xz") as archive:
        archive.extractall(root)
    for shape in SHAPES:
        (root / request.param / "photos" / shape).mkdir(parents=True)
        for number in range(8):
            draw(shape, number).save(root / request.param / "photos" / shape / f"{number}.png")
    return root / request.param


@pytest.fixture
def attar(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Attar:
    """A command in a copy of that folder -> exit code, output, messages."""
    shutil.copytree(written, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")

    return in_process(monkeypatch, capfd)


@pytest.mark.parametrize("model", ["run", "run/student", "run/teacher", "run/exports", "run/exports/onnx-int8.onnx"])
def test_models_answer(attar: Attar, model: str) -> None:
    code, out, err = attar("predict", model, "photos/circle", "--json")
    assert code == 0, err
    answers = json.loads(out)
    assert len(answers) == 8 and all(0 < each["top"][0]["probability"] <= 1 for each in answers)


def test_files_are_verified_and_reported(attar: Attar) -> None:
    code, out, err = attar("verify", "run/exports", "--data", "photos", "--json")
    if code and not re.search(r"\b(avx_vnni|avx512_vnni)\b", Path("/proc/cpuinfo").read_text(encoding="utf-8")):
        assert "onnx-int8.onnx: it is not the file that was verified, or this processor computes it otherwise" in err
        return
    assert code == 0, err
    assert {entry["target"] for entry in json.loads(out)["files"]} == {"litert:int8", "onnx:int8"}
    code, _, err = attar("report", "run/exports", "--data", "photos", "-o", "again")
    assert code == 0, err
    report = json.loads(Path("again/report.json").read_text(encoding="utf-8"))
    latencies = [row["latency"]["p50"] for row in report["rows"] if row["kind"] == "file"]
    assert len(latencies) == 2 and all(latencies), "its records were read"


def test_the_history_is_added_to(attar: Attar) -> None:
    code, _, err = attar("bench", "run", "--seconds", "0.1", "--history", "history.sqlite", "--tag", "second")
    assert code == 0, err
    code, out, err = attar("history", "history.sqlite", "--json")
    assert code == 0 and len(json.loads(out)) == 4, err


def test_a_student_is_exported_again(attar: Attar) -> None:
    code, _, err = attar(
        "export", "run/student", "-t", "onnx:fp32", "-o", "new", "--data", "photos", "--max-drop", "50"
    )
    assert code == 0, err


def test_the_teachers_answers_are_read_or_refused(attar: Attar, written: Path) -> None:
    how = [f"student.{each}" for each in ("check_teacher=false", "epochs=1", "min_steps=0")]
    words = [word for each in how for word in ("--set", each)]
    code, _, err = attar(
        "distill", "recipe.yaml", "-o", "new", "--teacher", "run/teacher", "--cache", "run/teacher-cache", *words
    )
    if written.name == "v0.1":
        assert code == 2 and "remove this one to build it again" in err
    else:
        assert code == 0, err


def test_a_run_is_refused_with_the_remedy(attar: Attar) -> None:
    """A recipe had every method's keys, and has its own now: it is another one."""
    code, _, err = attar("run", "recipe.yaml", "-o", "run", "--set", "student.check_teacher=false")
    assert code == 2 and "holds another run (its recipe differs). Choose another --output" in err
