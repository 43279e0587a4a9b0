"""The projects that `attar sample` writes: whole, filled in, and in their plain Kotlin the same as Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from attar.data.photos import DataSpec, read_photos
from attar.deploy.sample.write import PLATFORMS, write_sample
from attar.errors import InputError
from attar.export.export import export_student
from attar.export.manifest import read_manifest, write_manifest
from attar.files import sha256
from attar.geo.combine import Combination
from attar.geo.files import WEIGHTS
from attar.geo.located import open_located
from attar.geo.places import Place
from attar.geo.snippets import HERE as SNIPPETS
from attar.preprocessing import Preprocessing
from helpers.command import in_process
from helpers.once import made_once
from helpers.pictures import draw
from helpers.priors import random_prior
from helpers.small import DROP, make_student

pytestmark = pytest.mark.slow

NAME = 'Pflanzen & "Tiere"'


@pytest.fixture(scope="module")
def exports(shapes: Path, shared: Path) -> Path:
    def make(folder: Path) -> None:
        photos = read_photos(DataSpec(str(shapes)))
        student = make_student("mobilenetv3_small_050", photos, folder / "student")
        export_student(student, ["litert:int8", "coreml:fp16"], folder / "exports", photos=photos, max_drop=DROP)

    return made_once(shared / "sample", make) / "exports"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_project_is_whole_and_its_test_has_what_it_asks_for(exports: Path, tmp_path: Path, platform: str) -> None:
    folder, kind = tmp_path / platform, PLATFORMS[platform]
    entry = write_sample(exports, folder, platform, NAME)
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.suffix in (".kt", ".kts", ".swift", ".xml", ".yml", ".md") and "golden" not in path.parts
    }
    assert len(texts) > 5 and not any("<<" in text for text in texts.values())
    assert sum(entry.file in text for text in texts.values()) >= 2
    told = json.loads((folder / kind.golden / "golden.json").read_text())
    assert len(told["files"][entry.file]["probabilities"]) == len(told["images"])
    assert all((folder / kind.golden / each["file"]).is_file() for each in told["images"])
    kept = folder / kind.model / entry.file
    assert kept.exists() and (kept.is_dir() or sha256(kept) == entry.sha256)
    assert (folder / "MODEL_CARD.md").is_file() and NAME in texts[folder / "README.md"]


def test_what_other_programs_read_is_well_formed(exports: Path, tmp_path: Path) -> None:
    write_sample(exports, tmp_path / "android", "android", NAME)
    resources = tmp_path / "android" / "app" / "src" / "main"
    [name] = ElementTree.parse(resources / "res" / "values" / "strings.xml").findall("string[@name='name']")
    assert name.text == NAME
    ElementTree.parse(resources / "AndroidManifest.xml")
    assert json.loads((resources / "assets" / "labels.json").read_text()) == ["circle", "cross", "square"]
    write_sample(exports, tmp_path / "ios", "ios", NAME)
    project = yaml.safe_load((tmp_path / "ios" / "project.yml").read_text(encoding="utf-8"))
    properties = project["targets"]["Classifier"]["info"]["properties"]
    assert properties["CFBundleDisplayName"] == NAME and "NSCameraUsageDescription" in properties


def test_a_sample_is_replaced_and_anything_else_is_left_alone(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_sample(exports, tmp_path / "one", "android")
    write_sample(exports, tmp_path / "one", "ios")
    assert (tmp_path / "one" / "project.yml").is_file() and not (tmp_path / "one" / "app").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no sample of attar's"):
        write_sample(exports, tmp_path / "mine", "ios")
    with pytest.raises(InputError, match="Did you mean 'android'"):
        write_sample(exports, tmp_path / "two", "androit")
    own = Path(shutil.copytree(exports, tmp_path / "exports"))
    (own / "litert-int8.tflite").write_bytes(b"other")
    with pytest.raises(InputError, match="changed since it was verified"):
        write_sample(own, tmp_path / "two", "android")
    assert not (tmp_path / "two").exists()
    code, printed, _ = in_process(monkeypatch, capfd)("sample", exports, "-o", tmp_path / "three", "--json")
    assert code == 0 and json.loads(printed)["file"] == "litert-int8.tflite"


MAIN = """
package org.example.classifier

fun main() {
    val (width, height, hex) = readLine()!!.split(" ")
    val bytes = hex.chunked(2) { it.toString().toInt(16) }
    val square = squareOf(width.toInt(), height.toInt()) { y, row ->
        for (x in row.indices) {
            val at = 3 * (y * width.toInt() + x)
            row[x] = (255 shl 24) or (bytes[at] shl 16) or (bytes[at + 1] shl 8) or bytes[at + 2]
        }
    }
    println(square.joinToString("") { "%02x".format(it) })
    val smoothed = Smoothed()
    smoothed.add(floatArrayOf(1f, 0f, 0f))
    println(ranked(listOf("a", "b", "c"), smoothed.add(floatArrayOf(0f, 1f, 0f))))
    readLine()!!.split("|").forEach { row ->
        println(possible(ranked(listOf("a", "b", "c"), row.split(" ").map { it.toFloat() }.toFloatArray())))
    }
    println(listOf(null, 0.24f, 0.25f).map { isKnown(it) })

    val (floor, weight) = readLine()!!.split(" ").map { it.toDouble() }
    val order = readLine()!!.split(" ").map { it.toInt() }.toIntArray()
    val observed = readLine()!!.split(" ").map { it == "True" }.toBooleanArray()
    val arrays = List(readLine()!!.toInt()) {
        val (name, numbers) = readLine()!!.split(" ", limit = 2)
        name to numbers.split(" ").map { it.toFloat() }.toFloatArray()
    }
    val prior = GeoPrior(arrays.toMap(), 2, order, observed, floor, weight)
    generateSequence { readLine() }.forEach { line ->
        val (latitude, longitude, day, photo) = line.split(" ", limit = 4)
        val row = photo.split(" ").map { it.toFloat() }.toFloatArray()
        println(prior.joined(row, latitude.toDouble(), longitude.toDouble(), day.toInt()).joinToString(" "))
    }
}
"""


def test_the_plain_kotlin_compiles_and_computes_what_python_does(exports: Path, tmp_path: Path) -> None:
    if not shutil.which("kotlinc"):
        pytest.skip("no kotlinc is installed")
    write_sample(
        decided(0.75, 0.125, 0.25, shutil.copytree(exports, tmp_path / "exports")), tmp_path / "android", "android"
    )
    sources = tmp_path / "android" / "app" / "src" / "main" / "java" / "org" / "example" / "classifier"
    (tmp_path / "Main.kt").write_text(MAIN)
    # The Kotlin of the prior of place and season is of no sample, and is compiled here to compile once.
    snippet = (SNIPPETS / "GeoPrior.kt").read_text(encoding="utf-8")
    (tmp_path / "GeoPrior.kt").write_text(f"package org.example.classifier\n{snippet}")
    files = [sources / "Square.kt", sources / "Answers.kt", tmp_path / "GeoPrior.kt", tmp_path / "Main.kt"]
    jar = tmp_path / "main.jar"
    subprocess.run(["kotlinc", *map(str, files), "-include-runtime", "-d", str(jar)], check=True, capture_output=True)
    photo = draw("cross", 5).convert("RGB").resize((150, 97))
    asked, expected = places(tmp_path / "geo")
    unsure = "0.75 0.15 0.1|0.7 0.175 0.125|0.1 0.1 0.7"
    line = f"{photo.width} {photo.height} {photo.tobytes().hex()}\n{unsure}\n{asked}"
    done = subprocess.run(
        ["java", "-cp", jar, "org.example.classifier.MainKt"], input=line, capture_output=True, text=True, check=True
    )
    pixels, answers, sure, two_more, alone, known, *joined = done.stdout.splitlines()
    how = Preprocessing.from_json(read_manifest(exports).preprocessing)
    found = np.frombuffer(bytes.fromhex(pixels), np.uint8).reshape(how.size, how.size, 3)
    np.testing.assert_array_equal(found, how(photo))
    assert answers == "[(a, 0.7), (b, 0.3), (c, 0.0)]"
    assert [sure, two_more, alone] == ["[a]", "[a, b, c]", "[c]"] and known == "[true, false, true]"
    np.testing.assert_allclose([[float(each) for each in row.split()] for row in joined], expected, atol=1e-6)


def decided(sure: float, possible: float, known: float, exports: Path) -> Path:
    """The same files with these thresholds in their manifest."""
    manifest = read_manifest(exports)
    files = tuple(
        replace(
            entry,
            signature={**entry.signature, "familiarity": {"name": "familiarity"}},
            decision={
                **entry.decision,
                "sure": {"precision": 0.9, "threshold": sure, "share": 0.5},
                "familiar": {"refused": 0.05, "threshold": known},
                "set": {**entry.decision["set"], "threshold": possible},
            },
        )
        for entry in manifest.files
    )
    write_manifest(replace(manifest, files=files), exports)
    return exports


def places(folder: Path) -> tuple[str, np.ndarray]:
    """A prior and questions, as lines for MAIN, and attar's answers, float (questions, labels)."""
    labels = tuple("gfedcba")
    located = open_located(random_prior(folder, tuple("abcdefg"), Combination(0.01, 1.5)), labels)
    draw = np.random.default_rng(1)
    rows = draw.dirichlet(np.full(7, 0.4), 30).astype(np.float32)
    asked = [Place(*draw.uniform([-90, -180], [90, 180]).tolist(), day=int(draw.integers(0, 367))) for _ in rows]
    asked[:3] = [Place(90, 0, 0), Place(-90, 180, 366), Place(0, -180, 1)]
    arrays = {name: array.ravel() for name, array in load_file(folder / WEIGHTS).items()}
    lines = [
        f"{located.prior.combination.floor} {located.prior.combination.weight}",
        words(located.order),
        words(located.observed),
        str(len(arrays)),
        *(f"{name} {words(array)}" for name, array in arrays.items()),
        *(f"{each.latitude} {each.longitude} {each.day} {words(row)}" for each, row in zip(asked, rows)),
    ]
    return "\n".join(lines) + "\n", located(rows, asked)


def words(numbers: np.ndarray) -> str:
    return " ".join(str(each) for each in numbers.tolist())
