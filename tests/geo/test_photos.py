"""From observations and photos with places to answers that take the place in, as people do it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from attar.benchmarks.places import gain_with_place
from attar.benchmarks.predict import open_model
from attar.benchmarks.report.comparison import Comparison
from attar.bundle import Bundle, read_bundle
from attar.data.photos import DataSpec, read_photos
from attar.errors import InputError
from attar.export.export import export_student
from attar.geo import files
from attar.geo.combine import gain_in_words
from helpers import warm
from helpers.command import in_process
from helpers.once import made_once
from helpers.small import DROP, make_student

pytestmark = pytest.mark.slow


def attar(*words: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(warm.attar(*map(str, words)), capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stderr
    return done


def place(label: int, random: np.random.Generator) -> tuple[float, float]:
    """Each class lives in a belt of latitude, all around the globe."""
    return float(random.uniform(-60, -40) + 40 * label), float(random.uniform(-180, 180))


def located(latitude: float, longitude: float) -> Image.Exif:
    """EXIF that names a place."""
    exif, gps = Image.Exif(), ExifTags.GPS
    sides = {gps.GPSLatitudeRef: "N" if latitude > 0 else "S", gps.GPSLongitudeRef: "E" if longitude > 0 else "W"}
    values = {gps.GPSLatitude: latitude, gps.GPSLongitude: longitude}
    exif[ExifTags.IFD.GPSInfo] = {**sides, **{tag: (abs(value), 0.0, 0.0) for tag, value in values.items()}}
    return exif


@pytest.fixture(scope="module")
def student(shapes: Path, shared: Path) -> Bundle:
    """It has hardly learned anything."""
    photos = read_photos(DataSpec(str(shapes)))
    return read_bundle(made_once(shared / "beginner", lambda path: make_student("lcnet_035", photos, path, steps=4)))


@pytest.fixture(scope="module")
def listed(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos.csv`, and `seen.csv` with observations of the same classes elsewhere."""
    folder, random = tmp_path_factory.mktemp("listed"), np.random.default_rng(0)
    shutil.copytree(shapes, folder / "photos")
    names = sorted(path.name for path in shapes.iterdir() if path.is_dir())
    with (folder / "photos.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "latitude", "longitude", "date"])
        for label, name in enumerate(names):
            for path in sorted((folder / "photos" / name).iterdir()):
                writer.writerow([path.relative_to(folder), name, *place(label, random), "2024-05-31"])
    with (folder / "seen.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["label", "latitude", "longitude", "date"])
        for number in range(600):
            writer.writerow([names[number % 3], *place(number % 3, random), "2024-06-01"])
    return folder


@pytest.fixture(scope="module")
def prior(listed: Path, student: Bundle, shared: Path) -> Path:
    def make(folder: Path) -> None:
        more = [
            "--model",
            student.path,
            "--photos",
            listed / "photos.csv",
            "--export",
            "onnx",
            "--steps",
            120,
            "--json",
        ]
        done = attar("geo", listed / "seen.csv", "-o", folder, *more)
        told = json.loads(done.stdout)["combination"]
        assert told["fitted"]["low"] > 0 and told["weight"] > 0 and told["fitted"]["photos"] > 40
        assert "with place and season" in done.stderr and "geo.onnx" in done.stderr

    return made_once(shared / "belts", make)


def test_photos_are_answered_better_with_their_places(listed: Path, student: Bundle, prior: Path) -> None:
    alone = json.loads(attar("predict", student.path, listed / "photos.csv", "--json").stdout)
    both = json.loads(attar("predict", student.path, listed / "photos.csv", "--geo", prior, "--json").stdout)

    def right(answers: list[dict]) -> float:
        return float(np.mean([each["top"][0]["label"] in Path(each["photo"]).parts for each in answers]))

    assert right(both) > right(alone) + 0.1 and all(each["place"]["day"] == 152 for each in both)
    assert files.load(prior).fitted["gain"] == pytest.approx(right(both) - right(alone), abs=0.25)


def test_a_place_comes_from_words_from_exif_or_not_at_all(
    listed: Path, student: Bundle, prior: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.png"
    shutil.copy(next((listed / "photos" / "circle").iterdir()), plain)
    Image.open(plain).save(tmp_path / "located.png", exif=located(25.5, -7.25))

    def asked(*words: object) -> list[dict]:
        return json.loads(attar("predict", student.path, *words, "--json").stdout)

    [alone] = asked(plain)
    assert asked(plain, "--geo", prior) == [alone]  # no place: as without
    [by_exif] = asked(tmp_path / "located.png", "--geo", prior)
    [by_words] = asked(plain, "--geo", prior, "--at", "25.5,-7.25")
    assert by_exif["place"] == by_words["place"] == {"latitude": 25.5, "longitude": -7.25, "day": 0.0}
    assert by_exif["top"] == by_words["top"] != alone["top"]
    told = attar("predict", student.path, plain, tmp_path / "located.png", "--geo", prior).stderr
    assert "1 of 2 photos have no place" in told


def test_photos_are_observations_by_their_own_exif(shapes: Path, listed: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for label, name in enumerate(sorted(path.name for path in shapes.iterdir() if path.is_dir())):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, path in enumerate(sorted((shapes / name).iterdir())):
            there = tmp_path / "photos" / name / path.name
            Image.open(path).save(there, exif=located(*place(label, random)) if number else None)
    done = attar("geo", tmp_path / "photos", "-o", tmp_path / "geo", "--steps", 5)
    prior = files.load(tmp_path / "geo")
    assert prior.counts.tolist() == [15, 15, 15] and "Left out: 3 photos without a place" in done.stderr
    refused = attar("geo", listed / "photos", "-o", tmp_path / "none", ok=False).stderr
    assert "none of 48 photos says where it was taken" in " ".join(refused.split())
    assert "is a prior already" in attar("geo", tmp_path / "geo", ok=False).stderr.replace("\n", " ")


def test_the_gain_is_told_again_by_the_priors_of_the_folds(
    listed: Path, student: Bundle, prior: Path, tmp_path: Path
) -> None:
    """On the same photos to the last digit; a prior that was fitted without photos tells none."""
    photos = read_photos(DataSpec(str(listed / "photos.csv")))
    every = replace(photos, val=(*photos.train, *photos.val), train=())
    model = open_model(student.path)
    assert gain_with_place(model, every, prior) == files.load(prior).fitted
    turned = replace(model, labels=model.labels[::-1], answer=lambda pixels: model.answer(pixels)[:, ::-1])
    assert gain_with_place(turned, every, prior) == files.load(prior).fitted
    alike = replace(every, spec=DataSpec(str(listed / "photos")))
    assert gain_with_place(open_model(student.path), alike, prior) is None  # neither a table nor EXIF
    copy = shutil.copytree(prior, tmp_path / "copy")
    (copy / files.FOLDS).write_bytes(b"other")
    with pytest.raises(InputError, match=r"folds\.safetensors: missing, damaged"):
        gain_with_place(open_model(student.path), every, copy)
    files.save(files.load(prior), tmp_path / "alone")
    with pytest.raises(InputError, match="was fitted without photos"):
        gain_with_place(open_model(student.path), every, tmp_path / "alone")


def test_a_comparison_tells_what_place_and_season_add_where_there_is_a_prior(
    listed: Path, student: Bundle, prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    table = listed / "photos.csv"
    exports = tmp_path / "exports"
    export_student(student, ["onnx:fp32"], exports, photos=read_photos(DataSpec(str(table))), max_drop=DROP)
    attar = in_process(monkeypatch, capfd)
    words = ("compare", exports, "--bundle", student.path, "--data", table)
    code, _, said = attar(*words, "--geo", prior)
    assert code == 2 and "12 photos with places in" in " ".join(said.split())
    code, out, said = attar(*words)
    assert code == 0 and "place and season" not in " ".join((out + said).split()), "there is no prior"
    shutil.copytree(prior, tmp_path / "geo")
    code, out, said = attar(*words)
    assert code == 0 and "onnx:fp32" in out
    assert "What place and season add is not told. 12 photos with places in" in " ".join(said.split())
    monkeypatch.setattr("attar.geo.gain.FEWEST_PHOTOS", 12)
    told = gain_with_place(open_model(student.path), read_photos(DataSpec(str(table))), prior)
    assert told and told["photos"] == 12
    code, out, said = attar(*words)
    assert code == 0 and gain_in_words(told) in " ".join(out.split()), out
    code, out, _ = attar("report", *words[1:], "--format", "html", "--format", "md", "--json")
    assert code == 0 and json.loads(out)["with_place"] == told
    assert Comparison.from_json(json.loads(out)).with_place == told
    for name in ("report.html", "report.md"):
        assert (
            "12 photos in" in (tmp_path / name).read_text() and "with place and season" in (tmp_path / name).read_text()
        )


def test_its_files_are_proven_again(prior: Path, tmp_path: Path) -> None:
    assert "geo.onnx" in attar("verify", prior).stdout
    copy = shutil.copytree(prior, tmp_path / "copy")
    (copy / "geo.onnx").write_bytes(b"other")
    assert "geo.onnx: missing, damaged or changed" in attar("verify", copy, ok=False).stderr


def test_mistakes_are_told_before_anything_takes_time(
    listed: Path, student: Bundle, prior: Path, tmp_path: Path
) -> None:
    photo = next((listed / "photos" / "circle").iterdir())
    table, out = listed / "seen.csv", tmp_path / "out"
    said = {
        ("predict", student.path, photo, "--at", "1,2"): "--at needs --geo",
        ("predict", student.path, photo, "--geo", prior, "--at", "91,2"): "--at 91,2: latitude 91",
        ("predict", student.path, photo, "--geo", tmp_path): "not a prior",
        ("geo", table, "-o", out, "--model", student.path): "--model and --photos go together",
        ("geo", table, "-o", out, "--export", "tflite"): "--export tflite: no format",
        ("geo", prior, "--model", student.path, "--photos", photo): "is a prior already",
        ("geo", table, "-o", out, "--model", student.path, "--photos", listed / "photos"): "has a label of the model",
    }
    for words, message in said.items():
        assert message in " ".join(attar(*words, ok=False).stderr.split()), words
        assert not out.exists()
    other = tmp_path / "other.csv"
    other.write_text("label,lat,lon\n" + "".join(f"{name},{n},{n}\n" for n in range(9) for name in ("cat", "dog")))
    attar("geo", other, "-o", tmp_path / "pets", "--steps", 5)
    refused = attar("predict", student.path, photo, "--geo", tmp_path / "pets", ok=False).stderr
    assert "a prior of 2 other labels than the model's 3" in " ".join(refused.split())
