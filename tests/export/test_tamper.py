"""Damage that must not go unnoticed: bytes, ends, labels, calibration, another student."""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import DROP, TARGETS

import students
from attar.data import load_pixels
from attar.errors import GateError
from attar.files import sha256
from export import export, litert, read_manifest, verify
from export.manifest import write_manifest
from export.noise import captured
from export.targets import parse_targets
from export.verify import changed_files

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
    export(bundle, [*TARGETS, "coreml:fp16"], folder, photos=photos, max_drop=DROP)
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
        found = [name for name, _ in changed_files(with_core_ml, {owner: digests[owner]})]
        with path.open("r+b") as stream:
            stream.seek(place)
            stream.write(old)
        assert found == [owner], f"{path} at {place}"
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
    with captured():
        student = student or students.load(bundle)
        wanted.module.convert(student, bundle, wanted.precision, calibration, path)
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
def test_a_nearly_equal_student_is_found_out(exports, bundle, photos, tmp_path, target, monkeypatch):
    """The same student after a little more training: labels and most answers are the same."""
    other = students.load(bundle)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(0.2 * weight.std() * torch.randn(weight.shape, generator=generator) if weight.ndim > 1 else 0.0)
    images = load_pixels(photos.train, bundle.preprocessing)
    file = parse_targets([target])[0].file
    monkeypatch.setattr("export.shared._latest", ("", b""))  # it goes by the bundle, which is another's here
    put(exports, file, converted(bundle, target, images, tmp_path / file, other))
    refused(exports, bundle, photos, file, "diverges|not the file that was verified")
