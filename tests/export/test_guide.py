"""The guide beside exported files: its code is run, and its golden vectors are held against the files."""

from __future__ import annotations

import json
import py_compile
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from attar.data.images import read_rgb
from attar.data.photos import Photo
from attar.errors import GateError
from attar.export import card, decision, snippets
from attar.export.capture_output import captured
from attar.export.export import export_student
from attar.export.guide import write_golden, write_guide
from attar.export.manifest import read_manifest
from attar.export.runners import open_runner
from attar.export.verify import Reference, verify
from helpers.browser import told_by
from helpers.imported import module_of
from helpers.small import DROP, TARGETS

for package in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def golden(exported) -> tuple[np.ndarray, dict[str, Any]]:
    """The golden images as an app reads them, and what golden.json says of them."""
    listing = json.loads((exported / "golden/golden.json").read_text())
    return np.stack(
        [np.asarray(Image.open(exported / "golden" / image["file"])) for image in listing["images"]]
    ), listing


def test_whole_photos_come_with_the_pixels_that_an_app_should_make_of_them(exported, bundle, golden):
    _, listing = golden
    folder = exported / "golden"
    snippet = module_of(exported / "snippets/classify_onnx.py")
    assert len(listing["photos"]) == 2
    pixels = np.stack([np.asarray(Image.open(folder / photo["pixels"])) for photo in listing["photos"]])
    for photo, expected in zip(listing["photos"], pixels):
        whole = Image.open(folder / photo["file"])
        assert max(whole.size) <= 1024 and not whole.getexif() and whole.info == {} and photo["label"] in bundle.labels
        np.testing.assert_array_equal(bundle.preprocessing(whole), expected)
        np.testing.assert_array_equal(snippet.pixels_of(folder / photo["file"]), expected)
    for file, about in listing["files"].items():
        with captured():
            answers = open_runner(exported / file).predict(pixels)
        np.testing.assert_allclose(answers, about["photos"], atol=1e-6)


def test_a_large_photo_with_metadata_is_made_smaller_and_loses_it(exported, bundle, tmp_path):
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 0.0)}
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "large.jpg", exif=exif)
    manifest = replace(read_manifest(exported), files=())
    no_images = Reference(bundle, np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, int), np.zeros((0, 3), np.float32))
    write_golden(manifest, exported, no_images, [Photo(tmp_path / "large.jpg", 0)], tmp_path)
    whole = Image.open(tmp_path / "photo-0.png")
    assert whole.size == (1024, 512) and not whole.getexif() and whole.info == {}


def test_golden_vectors_are_what_each_file_answers(exported, bundle, golden):
    pixels, listing = golden
    assert listing["labels"] == list(bundle.labels) == json.loads((exported / "labels.json").read_text())
    assert set(listing["files"]) == {entry.file for entry in read_manifest(exported).files}
    assert len({image["label"] for image in listing["images"]}) > 1
    for file, about in listing["files"].items():
        with captured():
            answers = open_runner(exported / file).predict(pixels)
        np.testing.assert_allclose(answers, about["probabilities"], atol=1e-6)


@pytest.mark.parametrize("name", ["classify_litert.py", "classify_onnx.py"])
def test_the_python_snippets_give_the_golden_vectors(exported, golden, photos, bundle, name):
    pixels, listing = golden
    snippet = module_of(exported / "snippets" / name)
    with captured():
        answers = np.stack([snippet.classify(image) for image in pixels])
    assert list(snippet.LABELS) == listing["labels"]
    np.testing.assert_allclose(answers, listing["files"][snippet.MODEL.name]["probabilities"], atol=1e-6)
    photo = photos.val[0].path
    np.testing.assert_array_equal(snippet.pixels_of(photo), bundle.preprocessing(read_rgb(photo)))


@pytest.mark.parametrize("name", ["classify_litert.py", "classify_onnx.py"])
def test_the_python_snippets_run_as_commands(exported, photos, bundle, name):
    command = [sys.executable, str(exported / "snippets" / name), str(photos.val[0].path)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert sorted(label for _, label in lines) == sorted(bundle.labels), done.stderr
    assert sum(float(share) for share, _ in lines) == pytest.approx(1, abs=1e-3)


def test_the_python_snippets_see_colours_as_attar_does(exported, bundle, tmp_path):
    """Profiles, transparency, grey and ink."""
    snippet = module_of(exported / "snippets/classify_onnx.py")
    for name, image in colourful().items():
        path = tmp_path / name
        image.save(path, icc_profile=image.info.get("icc_profile"))
        away = snippet.pixels_of(path).astype(int) - bundle.preprocessing(read_rgb(path))
        assert np.abs(away).max() <= 1, name


def colourful() -> dict[str, Image.Image]:
    """Photos whose colours a reader may get wrong, by file name."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8)
    rgb, ink = Image.fromarray(noise[..., :3]), Image.fromarray(noise, "CMYK")
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = bytearray(other)  # green where its red was: any photo with it looks otherwise than without
    red, green = wide.find(b"rXYZ"), wide.find(b"gXYZ")
    wide[red + 4 : red + 8], wide[green + 4 : green + 8] = wide[green + 4 : green + 8], wide[red + 4 : red + 8]
    photos = {
        "plain.png": rgb,
        "profile.png": rgb.copy(),
        "damaged.png": rgb.copy(),
        "transparent.png": Image.fromarray(noise),
        "grey.png": rgb.convert("L"),
        "palette.png": rgb.quantize(32),
        "ink.tif": ink,
    }
    photos["profile.png"].info["icc_profile"], photos["damaged.png"].info["icc_profile"] = bytes(wide), b"no profile"
    return photos


# --- JavaScript ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_onnx_snippet_for_javascript_runs_in_node(exported, golden, node):
    pixels, listing = golden
    shutil.copy(exported / "snippets/classify_onnx.mjs", node)
    file = next(e.file for e in read_manifest(exported).files if e.file in (node / "classify_onnx.mjs").read_text())
    (node / "pixels.json").write_text(json.dumps([image.ravel().tolist() for image in pixels]))
    (node / "run.mjs").write_text(
        f"""import fs from "node:fs";
        import {{ load }} from "./classify_onnx.mjs";
        const classify = await load(new Uint8Array(fs.readFileSync({json.dumps(str(exported / file))})));
        const answers = [];
        for (const pixels of JSON.parse(fs.readFileSync("pixels.json")))
          answers.push(Array.from(await classify(Uint8Array.from(pixels))));
        console.log(JSON.stringify(answers));"""
    )
    done = subprocess.run(["node", "run.mjs"], cwd=node, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), listing["files"][file]["probabilities"], atol=1e-5)


PAGE = """<script type="importmap">{"imports": {
  "@litertjs/core": "/node/node_modules/@litertjs/core/dist/index.js",
  "@litertjs/wasm-utils": "/node/node_modules/@litertjs/wasm-utils/dist/index.js"}}</script>
<script type="module">
window.told = (async () => {
  const { load, pixelsOf } = await import("/exports/snippets/classify_litert.mjs");
  const classify = await load("/exports/FILE", "/node/node_modules/@litertjs/core/wasm/");
  const golden = await (await fetch("/exports/golden/golden.json")).json();
  const answers = [], shown = [];
  for (const pixels of await (await fetch("/node/pixels.json")).json())
    answers.push(Array.from(await classify(Uint8Array.from(pixels))));
  for (const { file } of golden.images) {
    const photo = await createImageBitmap(await (await fetch("/exports/golden/" + file)).blob());
    shown.push(Array.from(pixelsOf(photo)).length);
  }
  return { answers, shown };
})();
</script>"""


@pytest.mark.slow
def test_the_litert_snippet_for_javascript_runs_in_a_browser(exported, golden, node, tmp_path):
    pixels, listing = golden
    file = "litert-int8.tflite"
    assert file in (exported / "snippets/classify_litert.mjs").read_text()
    (tmp_path / "exports").symlink_to(exported)
    (tmp_path / "node").symlink_to(node)
    (node / "pixels.json").write_text(json.dumps([image.ravel().tolist() for image in pixels]))
    (tmp_path / "index.html").write_text(PAGE.replace("FILE", file))
    answer = told_by(tmp_path)
    np.testing.assert_allclose(answer["answers"], listing["files"][file]["probabilities"], atol=1e-4)
    assert answer["shown"] == [pixels[0].size] * len(pixels)


# --- what holds the guide and the files together -------------------------------------------------


def test_every_snippet_is_filled_in_and_names_a_real_file_and_its_tensors(exported):
    manifest = read_manifest(exported)
    made = snippets.fill(manifest)
    formats = {entry.target.partition(":")[0] for entry in manifest.files}
    assert set(made) == {name for name, readable in snippets.loaders().items() if formats & set(readable)}
    assert len(made) == len(snippets.loaders()) - 3  # Core ML's, ExecuTorch's and QNN's
    for name, text in made.items():
        assert (exported / "snippets" / name).read_text() == text and "<<" not in text
        [entry] = [entry for entry in manifest.files if f'"{entry.file}"' in text or f" {entry.file} " in text]
        assert all(entry.signature[side]["name"] in text for side in ("input", "output"))


def test_a_core_ml_file_gets_its_swift(exported):
    manifest = read_manifest(exported)
    entry = replace(manifest.files[0], target="coreml:fp16", file="coreml-fp16.mlpackage")
    [(name, text)] = snippets.fill(replace(manifest, files=(entry,))).items()
    assert name == "CoreMLClassifier.swift" and "<<" not in text and 'forResource: "coreml-fp16"' in text


def test_the_card_says_what_the_manifest_says(exported, bundle):
    text = (exported / "MODEL_CARD.md").read_text()
    manifest = read_manifest(exported)
    for entry in manifest.files:
        [line] = [line for line in text.splitlines() if line.startswith(f"| `{entry.file}` | {entry.bytes / 1e6:.2f}")]
        assert f"{100 * entry.verification['top1']:.1f}%" in line and (entry.min_runtime or "") in line
    assert all(f"{i}. {label}" in text for i, label in enumerate(bundle.labels)) and "Licence: not stated" in text
    provenance = {"teacher": {"name": "vit", "fingerprint": "f" * 64, "metrics": {"top1": 0.875, "images": 12}}}
    student = replace(bundle, provenance={**provenance, "license": "CC-BY-4.0"}, labels=("a|b", "<b>", "c\nd"))
    text = card.render(manifest, student, {})
    assert "87.5%" in text and "Licence: CC-BY-4.0" in text
    assert "0. a\\|b" in text and "1. \\<b\\>" in text and "2. c d" in text


def test_the_runtime_of_phones_gets_the_file_it_reads(exported):
    manifest = read_manifest(exported)
    both = snippets.fill(manifest)
    assert 'MODEL = "ort-int8.ort"' in both["OnnxClassifier.kt"] and '"onnx-int8.onnx"' in both["classify_onnx.py"]
    only = replace(manifest, files=tuple(entry for entry in manifest.files if entry.target == "ort:fp32"))
    made = snippets.fill(only)
    assert set(made) == {"OnnxClassifier.kt", "classify_onnx.py", "classify_onnx.mjs"}
    assert all("ort-fp32.ort" in text for text in made.values())


def test_what_is_sure_stands_in_snippets_and_golden_vectors(exported, bundle, photos, tmp_path):
    manifest = read_manifest(exported)
    assert all("12 photos cannot show 95% precision" in text for text in snippets.fill(manifest).values())
    assert all(
        about["sure"] is None for about in json.loads((exported / "golden/golden.json").read_text())["files"].values()
    )
    sure = {"precision": 0.9, "threshold": 0.8125, "share": 0.5}
    files = tuple(replace(entry, decision={**entry.decision, "sure": sure}) for entry in manifest.files)
    folder = shutil.copytree(exported, tmp_path / "exports")
    write_guide(replace(manifest, files=files), folder, bundle, photos)  # the files are as before
    text = (folder / "snippets/OnnxClassifier.kt").read_text()
    assert "val sureFrom: Float? = 0.8125f" in text and "at least this probability are right 90% of the time" in text
    assert "SURE = 0.8125" in (folder / "snippets/classify_litert.py").read_text()
    for about in json.loads((folder / "golden/golden.json").read_text())["files"].values():
        assert about["sure"] == [max(row) >= 0.8125 for row in about["probabilities"]]
    assert "| 0.812 | 50.0% |" in (folder / "MODEL_CARD.md").read_text()


def test_snippets_name_what_a_photo_may_show(exported, tmp_path):
    """In Python, and in JavaScript where Node is: as the set and the threshold of `attar.export.decision` have it."""
    sure = {"precision": 0.9, "threshold": 0.75, "share": 0.5}
    manifest = read_manifest(exported)
    entries = [
        replace(
            entry, decision={**entry.decision, "sure": sure, "set": {"coverage": 0.9, "threshold": 0.1, "size": 2.0}}
        )
        for entry in manifest.files
    ]
    made = snippets.fill(replace(manifest, files=tuple(entries)))
    assert "one is right 90% of the time" in made["classify_onnx.mjs"]
    rows = np.random.default_rng(0).dirichlet([0.4] * 3, 200)
    sets = decision.members(rows, None, 0.1) & ~((rows.max(1) >= 0.75)[:, None] & (rows < rows.max(1, keepdims=True)))
    shutil.copytree(exported, tmp_path / "exports", ignore=shutil.ignore_patterns("golden"))
    path = tmp_path / "exports/snippets/classify_litert.py"
    path.write_text(made[path.name])
    module = module_of(path)
    for row, inside in zip(rows, sets):
        found = module.possible(row)
        assert set(found) == {label for label, one in zip(module.LABELS, inside) if one}
        assert found == sorted(found, key=lambda label: -row[module.LABELS.index(label)])
    if shutil.which("node"):
        (tmp_path / "run.mjs").write_text(
            made["classify_onnx.mjs"].replace('import * as ort from "onnxruntime-web";', "")
            + f"console.log(JSON.stringify({json.dumps(rows.tolist())}.map(possible)));"
        )
        done = subprocess.run(["node", str(tmp_path / "run.mjs")], capture_output=True, text=True, check=True)
        for found, row, inside in zip(json.loads(done.stdout), rows, sets):
            assert set(found) == set(np.flatnonzero(inside)) and found == sorted(found, key=lambda i: -row[i])


def test_without_a_set_snippets_name_one_label(exported):
    manifest = read_manifest(exported)
    old = replace(manifest, files=tuple(replace(entry, decision=None) for entry in manifest.files))
    tail = replace(manifest, data={**manifest.data, "common": [0.8, 0.1, 0.1]})
    for text, says in ((old, "attar 0.1 wrote the file"), (tail, "see `set` and `common` in manifest.json")):
        made = snippets.fill(text)
        assert "POSSIBLE = None" in made["classify_onnx.py"] and all(says in each for each in made.values())


def test_a_snippet_that_was_imported_is_unchanged(exported, bundle, photos, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "exports")
    py_compile.compile(str(folder / "snippets/classify_litert.py"))
    assert list((folder / "snippets").rglob("*.pyc"))
    verify(folder, bundle=bundle, photos=photos, max_drop=DROP)


def test_the_guide_is_made_again_only_when_it_must_be(exported, bundle, photos, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "exports")
    manifest = read_manifest(folder)
    assert write_guide(manifest, folder, bundle, photos) == manifest
    assert (folder / "MODEL_CARD.md").stat().st_mtime_ns == (exported / "MODEL_CARD.md").stat().st_mtime_ns
    (folder / "golden/0.png").unlink()
    with pytest.raises(GateError, match="golden"):
        verify(folder, bundle=bundle, photos=photos, max_drop=DROP)
    assert export_student(bundle, TARGETS, folder, photos=photos, max_drop=DROP).guide == manifest.guide
    verify(folder, bundle=bundle, photos=photos, max_drop=DROP)
    fewer = replace(manifest, files=manifest.files[:1])
    assert write_guide(fewer, folder, bundle, photos).guide != manifest.guide
    assert set(json.loads((folder / "golden/golden.json").read_text())["files"]) == {manifest.files[0].file}
    assert write_guide(replace(manifest, files=()), folder, bundle, photos).guide == {}
    assert not any((folder / name).exists() for name in manifest.guide)
