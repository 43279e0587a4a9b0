"""Damage that must not go unnoticed: bytes, ends, labels, calibration, another student."""

from __future__ import annotations

import copy
import io
import json
import random
import shutil
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from attar import students
from attar.data.photos import load_pixels
from attar.errors import GateError, InputError
from attar.export import artifact_cache, litert
from attar.export.capture_output import captured
from attar.export.export import export_student
from attar.export.manifest import NAME, files_table, read_manifest, write_manifest
from attar.export.targets import parse_targets
from attar.export.verify import changed_files, verify
from attar.files import digest_of, sha256
from helpers import warm
from helpers.small import DROP, TARGETS

for package in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

CHANGES = 1000


@pytest.fixture
def exports(exported, tmp_path) -> Path:
    return shutil.copytree(exported, tmp_path / "exports")


@pytest.fixture(scope="module")
def with_core_ml(exported, bundle, photos, tmp_path_factory) -> Path:
    pytest.importorskip("coremltools")
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("tamper") / "exports")
    export_student(bundle, [*TARGETS, "coreml:fp16"], folder, photos=photos, max_drop=DROP)
    return folder


def test_a_thousand_changes_of_one_byte_are_all_noticed(with_core_ml):
    """Each in any file of a folder of exports, those inside an .mlpackage and the guide included."""
    manifest = read_manifest(with_core_ml)
    digests = {entry.file: entry.sha256 for entry in manifest.files} | manifest.guide
    files = sorted(p for p in with_core_ml.rglob("*") if p.is_file() and p.name != "manifest.json")
    owners = {path: path.relative_to(with_core_ml).parts[0] for path in files}
    assert set(owners.values()) == set(digests) and any("mlpackage" in name for name in owners.values())
    assert changed_files(with_core_ml, digests) == []
    rng = np.random.default_rng(0)
    for path in [*files, *rng.choice(np.array(files, object), CHANGES - len(files))]:
        place, new = int(rng.integers(path.stat().st_size)), int(rng.integers(1, 256))
        with path.open("r+b") as stream:
            stream.seek(place)
            old = stream.read(1)
            stream.seek(place)
            stream.write(bytes([old[0] ^ new]))
        owner = owners[path]
        changed = [name for name, _ in changed_files(with_core_ml, {owner: digests[owner]})]
        with path.open("r+b") as stream:
            stream.seek(place)
            stream.write(old)
        assert changed == [owner], f"{path} at {place}"
    assert changed_files(with_core_ml, digests) == []


@pytest.mark.parametrize("place", ["coreml-fp16.mlpackage/Manifest.json", "golden/0.png", "MODEL_CARD.md"])
def test_verify_names_the_file_with_the_changed_byte(with_core_ml, bundle, photos, tmp_path, place):
    folder = shutil.copytree(with_core_ml, tmp_path / "exports")
    content = bytearray((folder / place).read_bytes())
    content[-1] ^= 1
    (folder / place).write_bytes(content)
    with pytest.raises(GateError, match=place.partition("/")[0]):
        verify(folder, bundle=bundle, photos=photos, max_drop=DROP)


# --- what the hash cannot see: the manifest was mended to fit ------------------------------------


def put(exports: Path, file: str, content: bytes) -> None:
    """Put other bytes in a good file's place, its hash made to fit."""
    (exports / file).write_bytes(content)
    manifest = read_manifest(exports)
    entries = tuple(replace(e, sha256=sha256(exports / file)) if e.file == file else e for e in manifest.files)
    write_manifest(replace(manifest, files=entries), exports)


def refused(exports: Path, bundle, photos, file: str, text: str) -> None:
    with pytest.raises(GateError, match=text) as caught:
        verify(exports, bundle=bundle, photos=photos, max_drop=DROP)
    assert file in str(caught.value) and file not in [entry.file for entry in read_manifest(exports).files]


def converted(bundle, target: str, calibration: np.ndarray, path: Path, student=None) -> bytes:
    [wanted] = parse_targets([target])
    # Another student under the name of this one must not be kept as this one's conversion.
    with warm.KEPT_IN(path.parent) if student else artifact_cache.kept_in(path.parent), captured():
        wanted.module.convert(student or students.load(bundle), bundle, wanted.precision, calibration, path)
    return path.read_bytes()


@pytest.mark.parametrize("file", ["litert-fp32.tflite", "litert-int8.tflite", "onnx-fp32.onnx", "onnx-int8.onnx"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_short_is_found_out(exports, bundle, photos, file, share):
    content = (exports / file).read_bytes()
    put(exports, file, content[: int(share * len(content))])
    refused(exports, bundle, photos, file, "does not run|labels")


def test_labels_swapped_inside_the_file_are_found_out(exports, bundle, photos):
    file = "litert-int8.tflite"
    with zipfile.ZipFile(exports / file) as archive:
        start = min(info.header_offset for info in archive.infolist())
    content = (exports / file).read_bytes()
    tail = content[start:]
    assert tail.count(b"circle\ncross\n") == 1
    swapped = tail.replace(b"circle\ncross\n", b"cross\ncircle\n")
    # The archive's own checksum is mended too.
    was, now = (zlib.crc32(text) for text in (b"circle\ncross\nsquare\n", b"cross\ncircle\nsquare\n"))
    put(exports, file, content[:start] + swapped.replace(struct.pack("<I", was), struct.pack("<I", now)))
    assert litert.open_runner(exports / file).labels == ("cross", "circle", "square")
    refused(exports, bundle, photos, file, "labels")


def test_a_file_that_errs_more_than_the_one_that_was_verified_is_found_out(exports, bundle, photos):
    """Calibrated a little wrong, a file of a sure student stays within every limit, and is ten times further off."""
    file, manifest = "onnx-int8.onnx", read_manifest(exports)

    def better(entry):
        was = entry.verification
        return replace(entry, verification={**was, "mean_abs_error": was["mean_abs_error"] / 10})

    put_back = tuple(better(entry) if entry.file == file else entry for entry in manifest.files)
    write_manifest(replace(manifest, files=put_back, data={"fingerprint": "other photos"}), exports)
    assert not verify(exports, bundle=bundle, photos=photos, max_drop=DROP).failed
    write_manifest(replace(manifest, files=put_back), exports)
    refused(exports, bundle, photos, file, "not the file that was verified")


def wrong(kind: str, images: np.ndarray) -> np.ndarray:
    """Calibration images as careless scripts make them."""
    if kind == "black":
        return np.zeros_like(images)
    if kind == "already normalized":  # 0..1 or -1..1, cut to bytes
        return (images / 255).astype(np.uint8)
    return np.full_like(images, 128)  # "grey"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "kind"),
    [("litert:int8", "black"), ("litert:int8", "already normalized"), ("litert:int8", "grey"), ("onnx:int8", "black")],
)
def test_wrong_calibration_is_found_out(exports, bundle, photos, tmp_path, target, kind):
    images = load_pixels(photos.train, bundle.preprocessing)
    file = parse_targets([target])[0].file
    put(exports, file, converted(bundle, target, wrong(kind, images), tmp_path / file))
    refused(exports, bundle, photos, file, "diverges|not the file that was verified")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["litert:int8", "onnx:fp32"])
def test_a_nearly_equal_student_is_found_out(exports, bundle, photos, tmp_path, target):
    """The same student after a little more training: labels and most answers are the same."""
    other = students.load(bundle)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(0.2 * weight.std() * torch.randn(weight.shape, generator=generator) if weight.ndim > 1 else 0.0)
    images = load_pixels(photos.train, bundle.preprocessing)
    file = parse_targets([target])[0].file
    put(exports, file, converted(bundle, target, images, tmp_path / file, other))
    refused(exports, bundle, photos, file, "diverges|not the file that was verified")


# --- the manifest itself -------------------------------------------------------------------------


def test_an_export_that_lists_nothing_proves_nothing(exports, bundle, photos):
    write_manifest(replace(read_manifest(exports), files=(), guide={}), exports)
    with pytest.raises(GateError, match="lists no file"):
        verify(exports, bundle=bundle, photos=photos, max_drop=DROP)


def test_a_file_that_is_not_listed_is_named(exports, bundle, photos):
    manifest = read_manifest(exports)
    write_manifest(replace(manifest, files=manifest.files[1:]), exports)
    (exports / "notes.txt").write_text("mine")
    with pytest.raises(GateError, match="not listed") as caught:
        verify(exports, bundle=bundle, photos=photos, max_drop=DROP)
    assert manifest.files[0].file in str(caught.value) and "notes.txt" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("bytes", 5), ("signature", {"input": {}, "output": {}}), ("min_runtime", "9.9")]
)
def test_what_the_manifest_says_of_a_file_is_what_the_file_says(exports, bundle, photos, name, value):
    manifest = read_manifest(exports)
    file = manifest.files[0].file
    write_manifest(replace(manifest, files=(replace(manifest.files[0], **{name: value}), *manifest.files[1:])), exports)
    refused(exports, bundle, photos, file, f"its {name} in manifest.json")


@pytest.mark.parametrize("what", ["preprocessing", "labels", "name"])
def test_what_the_manifest_says_of_the_student_is_what_its_bundle_says(exports, bundle, photos, what):
    manifest = read_manifest(exports)
    labels = ["x", *manifest.bundle["labels"][1:]]
    changed = {
        "preprocessing": replace(manifest, preprocessing={**manifest.preprocessing, "crop": 0.5}),
        "name": replace(manifest, bundle={**manifest.bundle, "name": "other"}),
        "labels": replace(
            manifest,
            bundle={**manifest.bundle, "labels": labels, "labels_sha256": digest_of(labels)},
            files=tuple(replace(entry, labels_sha256=digest_of(labels)) for entry in manifest.files),
        ),
    }[what]
    write_manifest(changed, exports)
    with pytest.raises(GateError, match=f"other {what} than"):
        verify(exports, bundle=bundle, photos=photos, max_drop=DROP)


def damaged(value: Any, rng: random.Random) -> tuple[str, Any]:
    """A copy of JSON with one thing changed: a key gone or renamed, a value of another kind, another number or text."""
    value = copy.deepcopy(value)
    places = [(value, key) for key in value]
    for holder, key in places:  # grows: every place below is added
        below = holder[key]
        keys = below if isinstance(below, dict) else range(len(below)) if isinstance(below, list) else ()
        places += [(below, each) for each in keys]
    holder, key = rng.choice(places)
    old = holder[key]
    ways = {
        "gone": lambda: holder.pop(key),
        "null": lambda: holder.__setitem__(key, None),
        "text": lambda: holder.__setitem__(key, "../../x"),
        "list": lambda: holder.__setitem__(key, [old]),
        "more": lambda: holder.__setitem__(key, old + 1 if isinstance(old, int | float) else f"{old}x"),
        "twice": lambda: holder.append(old) if isinstance(holder, list) else holder.__setitem__(f"{key}x", old),
    }
    way = rng.choice(list(ways))
    ways[way]()
    return f"{way} {key}", value


def test_five_hundred_damaged_manifests_are_all_refused(exports):
    """By the checksum; and by what they contradict, where the checksum was made to fit or is of version 1."""
    whole = json.loads((exports / NAME).read_text())
    rng, fitting = random.Random(0), 0
    for _ in range(500):
        what, changed = damaged(whole, rng)
        if changed == whole:
            continue
        (exports / NAME).write_text(json.dumps(changed))
        with pytest.raises(InputError):
            read_manifest(exports)
        changed.pop("sha256", None)
        (exports / NAME).write_text(json.dumps({**changed, "sha256": digest_of(changed)}))
        try:
            read_manifest(exports)
        except InputError:
            fitting += 1
        except Exception as error:  # whatever it is, it is no clear message
            pytest.fail(f"{what}: {error!r}")
    assert fitting > 100


def test_a_manifest_of_version_1_is_read(exports):
    value = json.loads((exports / NAME).read_text())
    del value["sha256"], value["bundle"]["readiness"]
    (exports / NAME).write_text(json.dumps({**value, "schema": 1}))
    assert read_manifest(exports).readiness.ready


@pytest.mark.parametrize("name", ["../victim.txt", "/victim.txt", "link/victim.txt", "a/../../victim.txt", ""])
@pytest.mark.parametrize("where", ["guide", "files"])
def test_a_foreign_manifest_leads_nowhere_outside_its_folder(exports, bundle, photos, tmp_path, name, where):
    """`--force` removed what another student's manifest listed, wherever that was."""
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    name = str(victim) if name == "/victim.txt" else name
    (exports / "link").symlink_to(tmp_path)
    manifest = read_manifest(exports)
    manifest = replace(manifest, bundle={**manifest.bundle, "fingerprint": "0" * 64})
    if where == "guide":
        manifest = replace(manifest, guide={**manifest.guide, name: "0" * 64})
    else:
        manifest = replace(manifest, files=(replace(manifest.files[0], file=name), *manifest.files[1:]))
    write_manifest(manifest, exports)
    with pytest.raises(InputError, match=r"not inside|no file of"):
        export_student(bundle, ["onnx:fp32"], exports, photos=photos, max_drop=DROP, force=True)
    assert victim.read_text() == "mine"


def test_what_is_added_to_a_package_is_noticed(with_core_ml, tmp_path):
    folder = shutil.copytree(with_core_ml, tmp_path / "exports")
    package = folder / "coreml-fp16.mlpackage"
    before = sha256(package)
    for number, add in enumerate(
        (
            lambda place: place.write_text("x"),
            lambda place: place.mkdir(),
            lambda place: place.symlink_to(folder),
            lambda place: (
                (place / "__pycache__").mkdir(parents=True) or (place / "__pycache__" / "x.pyc").write_text("x")
            ),
        )
    ):
        place = package / f"extra{number}"
        add(place)
        assert sha256(package) != before
        place.unlink() if place.is_symlink() or place.is_file() else shutil.rmtree(place)
    assert sha256(package) == before


def test_a_student_at_chance_is_told_of_beside_its_files(exports, bundle, photos):
    """By `attar export` and `verify`, in manifest, table and card: files that repeat it are no better."""
    poor = {"top1": 0.3, "top1_interval": [0.1, 0.5], "images": 12, "steps": 20}
    student = replace(bundle, metrics=poor)
    manifest = export_student(student, ["onnx:fp32"], exports, photos=photos, max_drop=DROP)
    assert not manifest.readiness.ready and "20 steps" in manifest.readiness.reasons[1]
    assert "**Do not ship yet.**" in (exports / "MODEL_CARD.md").read_text()
    for source in (manifest, verify(exports, bundle=student, photos=photos, max_drop=DROP)):
        console = Console(width=200, file=io.StringIO())
        console.print(files_table(source))
        assert "Do not ship yet." in console.file.getvalue()
    assert verify(exports, bundle=bundle, photos=photos, max_drop=DROP).readiness.ready
