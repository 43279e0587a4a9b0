"""From observations and photos with places to answers that take the place in, as people do it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from attar.bundle import Bundle, read_bundle
from attar.data.photos import DataSpec, read_photos
from attar.geo import files
from helpers import warm
from helpers.once import made_once
from helpers.small import make_student

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
