"""Asking a model about photos without labels: the same answers as the files give, whatever way the photos come."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attar.benchmarks.inputs import photos_at
from attar.benchmarks.predict import Prediction, open_model, predict
from attar.data.photos import load_pixels
from attar.errors import InputError
from attar.export.manifest import read_manifest, write_manifest
from attar.export.runners import open_runner
from attar.files import write_json
from helpers import warm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos as a phone leaves them: no classes, a folder in a folder, hidden copies, something broken."""
    folder = tmp_path_factory.mktemp("album")
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "trip/b.PNG", "trip/more/c d.webp", ".hidden/x.jpg", "__MACOSX/y.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / name)
    (folder / "trip/broken.jpg").write_bytes(b"no photo")
    (folder / "trip/loop").symlink_to(folder)
    return folder


def test_a_file_answers_as_its_runner_does(small: Any) -> None:
    [entry, *_] = read_manifest(small.exports).files
    file = small.exports / entry.file
    photos = small.photos.val
    expected = open_runner(file).predict(load_pixels(photos, small.student.preprocessing))
    predictions = predict(file, [photo.path for photo in photos], top=3)
    assert [each.photo for each in predictions] == [str(photo.path) for photo in photos]
    for each, row in zip(predictions, expected):
        shares = dict(zip(small.student.labels, row))
        assert [share for _, share in each.top] == pytest.approx(sorted(row, reverse=True))
        assert all(shares[label] == pytest.approx(share) for label, share in each.top)


def test_every_kind_of_model_answers_alike(small: Any, album: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("student", "exports"):
        (run / name).symlink_to(small.folder / name)
    write_json(run / "run.json", {})
    models = [run, small.student.path, small.exports, small.exports / "onnx-fp32.onnx", run / "exports"]
    answers = [predict(model, [album / "a.jpg"])[0] for model in models]
    for each in answers[1:]:
        assert [label for label, _ in each.top] == [label for label, _ in answers[0].top]
        assert [share for _, share in each.top] == pytest.approx([share for _, share in answers[0].top], abs=1e-4)
    assert predict(small.teacher.path, [album / "a.jpg"])[0].top
    assert open_model(small.exports, "onnx:fp32").name == "onnx-fp32.onnx"


def test_a_file_that_changed_since_it_was_verified_does_not_answer(small: Any, album: Path, tmp_path: Path) -> None:
    shutil.copytree(small.exports, tmp_path / "exports")
    file = tmp_path / "exports" / "litert-fp32.tflite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for model in (file, tmp_path / "exports"):
        with pytest.raises(InputError, match=r"litert-fp32.tflite: its content changed since it was verified"):
            predict(model, [album])
    predict(tmp_path / "exports" / "onnx-fp32.onnx", [album])


def test_a_file_is_sure_by_its_own_threshold(
    small: Any, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exports = Path(shutil.copytree(small.exports, tmp_path / "exports"))
    file = exports / "onnx-fp32.onnx"

    def promise(sure: dict[str, Any], held: float, group: float = 2.0) -> Prediction:
        manifest = read_manifest(exports)
        decision = {"images": 100, "sure": {"precision": 0.95, **sure}, "set": {"coverage": 0.9, "threshold": held}}
        files = tuple(replace(each, decision=decision | {"groups": [{"threshold": group}]}) for each in manifest.files)
        levels = [{"names": ["all"], "of": [0] * len(small.student.labels)}]
        write_manifest(replace(manifest, files=files, data={**manifest.data, "hierarchy": levels}), exports)
        return predict(file, [album / "a.jpg"])[0]

    plain = predict(small.student.path, [album / "a.jpg"])[0]
    (first, most), (second, next_most), *_ = plain.top
    assert plain.sure and plain.among == () and "set" not in plain.to_json()
    unsure = promise({"threshold": most + 0.01}, next_most - 0.001)
    assert not unsure.sure and unsure.among[:2] == (first, second) and unsure.to_json()["label"] is None
    assert unsure.group is None and "group" not in unsure.to_json()
    grouped = promise({"threshold": most + 0.01}, next_most - 0.001, group=0.99)
    assert grouped.to_json()["group"] == {"name": "all", "probability": pytest.approx(1)}
    sure = promise({"threshold": most - 0.01}, next_most + 0.001)
    assert sure.group is None and sure.sure and sure.among == (first,) and sure.to_json()["set"] == [first]
    assert predict(file, [album / "a.jpg"], threshold=1.0)[0].sure is False
    Image.new("RGB", (300, 300)).save(tmp_path / "lens.png")
    assert predict(file, [tmp_path / "lens.png"])[0].to_json()["beyond"] == ["dark", "blurred"]
    assert promise({"threshold": None, "reason": "12 photos cannot show 95% precision"}, 0.5).sure
    assert "12 photos cannot show 95% precision" in " ".join(capsys.readouterr().err.split())


def test_photos_are_found_anyhow_and_once(album: Path, tmp_path: Path) -> None:
    names = ["a.jpg", "trip/b.PNG", "trip/broken.jpg", "trip/more/c d.webp"]
    assert [photo.path for photo in photos_at([album])] == [album / name for name in names]
    assert len(photos_at([album, album / "a.jpg"])) == 4
    (tmp_path / "list.csv").write_text(f"path, note\n{album / 'a.jpg'}, x\n")
    assert [photo.path for photo in photos_at([tmp_path / "list.csv"])] == [album / "a.jpg"]
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(album / "a.jpg", "0.jpg")
    [packed] = photos_at([tmp_path / "s.tar"])
    assert packed.part is not None


def test_a_broken_photo_is_named_and_the_others_answered(small: Any, album: Path) -> None:
    predictions = predict(small.student.path, [album], top=1, threshold=1.0)
    assert [bool(each.problem) for each in predictions] == [False, False, True, False]
    assert all(len(each.top) == 1 and not each.sure for each in predictions if not each.problem)
    assert predictions[0].to_json()["label"] is None and "not an image" in predictions[2].to_json()["problem"]


@pytest.mark.parametrize(
    ("model", "photos", "problem"),
    [
        ("student", "nowhere", "no such file or folder"),
        ("student", "empty", "no photos in it"),
        ("student", "album/trip/broken.jpg", "None of 1 photos"),
        ("student", "fifo", "neither a file nor a folder"),
        ("album", "album", "no model to ask"),
        ("nowhere", "album", "no model to ask"),
        ("nowhere.tflite", "album", "no such file"),
        ("bad.onnx", "album", "does not load"),
    ],
)
def test_what_cannot_be_asked_is_one_error(
    small: Any, album: Path, tmp_path: Path, model: str, photos: str, problem: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.onnx").write_bytes(b"x" * 100)
    (tmp_path / "album").symlink_to(album)
    (tmp_path / "student").symlink_to(small.student.path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match=problem):
        predict(tmp_path / model, [tmp_path / photos])


def test_the_command_writes_tables_csv_and_json(small: Any, album: Path, tmp_path: Path) -> None:
    def attar(*words: object) -> subprocess.CompletedProcess[str]:
        command = warm.attar("predict", small.exports, album, *words)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    said = attar("--json", "--threshold", "0.99")
    rows = json.loads(said.stdout)
    assert len(rows) == 4 and "broken.jpg: not read" in said.stderr.replace("\n", "")
    table = attar()
    assert table.returncode == 0 and "…" not in table.stdout and "not read" in table.stdout
    lines = list(csv.DictReader(io.StringIO(attar("--csv", "--top", 2).stdout)))
    assert [line["label1"] for line in lines[:2]] == [row["top"][0]["label"] for row in rows[:2]]
    assert attar("-o", tmp_path / "out.csv").returncode == 0 and (tmp_path / "out.csv").read_text().count("\n") == 5
    assert attar("-o", tmp_path / "out.txt").returncode == 2
