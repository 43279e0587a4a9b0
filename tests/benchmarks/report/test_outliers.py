"""Files against photos of something else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from attar.benchmarks.report.outliers import DRAWN, EACH, FAR, NEAR, kind_and_folder, outliers, separation, to_json
from attar.data.strange import PICTURES
from attar.errors import InputError
from attar.export.manifest import read_manifest, write_manifest
from helpers.command import in_process
from helpers.familiar import FILES, familiar_exports, familiar_photos, familiar_student

pytestmark = pytest.mark.slow


def test_figures_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    own, other = rng.normal(1, 1, 500).round(1), rng.normal(0, 1, 300).round(1)
    found = separation(own, other)
    assert found["auroc"] == pytest.approx(roc_auc_score(np.r_[np.ones(500), np.zeros(300)], np.r_[own, other]))
    assert found["low"] < found["auroc"] < found["high"] and 0.7 < found["aupr"] < 1


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = np.full((40, 40, 3), rng.integers(0, 256, 3), np.uint8)
        (tmp_path / "others").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "others" / f"{number}.png")
    (tmp_path / "others" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "others"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("near=a/b", (NEAR, Path("a/b"))),
        ("far=a=b", (FAR, Path("a=b"))),
        ("a/b", (None, Path("a/b"))),
        ("a/near=b", (None, Path("a/near=b"))),
        ("odd=name", (None, Path("odd=name"))),
    ],
)
def test_a_set_is_named_before_its_folder(
    text: str, meant: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd=name").mkdir()
    assert kind_and_folder(text) == meant


@pytest.mark.parametrize("text", ["nar=a", "near="])
def test_another_word_is_no_set(text: str) -> None:
    with pytest.raises(InputError, match=rf"--outliers {text}: give near=FOLDER.* Did you mean 'near'"):
        kind_and_folder(text)


def test_every_file_is_held_against_every_set(shared: Path, strangers: Path) -> None:
    exports, student = familiar_exports(shared), familiar_student(shared)
    rows = outliers(exports, student, familiar_photos(shared), [(None, strangers)])
    assert len(rows) == len(FILES) * (1 + len(PICTURES))
    assert {row.kind for row in rows if row.others in PICTURES} == {DRAWN}
    assert {row.others for row in rows} == {str(strangers), *PICTURES}
    assert all(row.images == (6 if row.others == str(strangers) else EACH) for row in rows)
    of_float = {row.others: row for row in rows if row.file == "onnx-fp32.onnx"}
    for row in rows:
        assert 0 <= row.low <= row.auroc <= row.high <= 1 and row.passed is not None
        if row.file == "litert-fp32.tflite":
            assert row.auroc == pytest.approx(of_float[row.others].auroc, abs=0.01)
    assert json.loads(json.dumps(to_json(rows)))[0]["file"] == rows[0].file


def test_the_command_line(
    shared: Path, strangers: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    attar = in_process(monkeypatch, capfd)
    known = ["--bundle", familiar_student(shared).path, "--data", familiar_photos(shared).spec.path]
    exports = familiar_exports(shared)
    code, printed, said = attar("compare", exports, *known, "--outliers", strangers, "--json")
    assert code == 0, said
    assert len(json.loads(printed)) == len(FILES) * (1 + len(PICTURES)) and "1 of 7 photos cannot be read" in said
    near = strangers.with_name("held-out")
    shutil.copytree(strangers, near / "a class")
    sets = [f"far={strangers}", f"near={near}"]
    code, printed, said = attar(
        "compare", exports, *known, *(word for each in sets for word in ("--outliers", each)), "--json"
    )
    assert code == 0, said
    rows = json.loads(printed)
    assert [(row["kind"], row["others"]) for row in rows[:2]] == [("near", str(near)), ("far", str(strangers))]
    assert rows[0] | {"kind": "far", "others": str(strangers)} == rows[1], "the same photos, the same figures"
    code, printed, said = attar("compare", exports, *known, "--outliers", strangers / "none")
    assert code == 2 and "no such file or folder" in said and not printed


def test_a_copy_of_an_own_photo_is_no_outlier(shared: Path, strangers: Path) -> None:
    photos = familiar_photos(shared)
    shutil.copy(photos.train[3].path, strangers / "copied.png")
    with pytest.raises(InputError, match=r"copied\.png: a photo of the student's own classes"):
        outliers(familiar_exports(shared), familiar_student(shared), photos, [(None, strangers)])


def test_files_without_a_familiarity_say_what_to_do(shared: Path, strangers: Path, tmp_path: Path) -> None:
    exports = Path(shutil.copytree(familiar_exports(shared), tmp_path / "exports"))
    manifest = read_manifest(exports)
    plain = tuple(
        replace(entry, signature={key: entry.signature[key] for key in ("input", "output")}) for entry in manifest.files
    )
    write_manifest(replace(manifest, files=plain), exports)
    with pytest.raises(InputError, match=r"no file says .* attar export \S+student --familiarity default"):
        outliers(exports, familiar_student(shared), familiar_photos(shared), [(None, strangers)])
