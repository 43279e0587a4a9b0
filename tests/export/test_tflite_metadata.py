"""What a .tflite file says of itself, read by field number as TFLite's metadata_schema.fbs numbers them.

MediaPipe's own reader is the judge where it is installed: its ImageClassifier must find labels and sizes itself.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from flatbuffers.number_types import Float32Flags, Int8Flags, Uint32Flags

from attar import students
from attar.export import litert
from attar.export.capture_output import captured
from attar.export.manifest import read_manifest
from attar.export.tflite import graph, metadata, versions
from attar.preprocessing import Preprocessing

pytest.importorskip("ai_edge_litert")


class Table:
    """A flatbuffer table, read slot by slot."""

    def __init__(self, content: bytes, position: int | None = None) -> None:
        self._content = content
        start = flatbuffers.encode.Get(Uint32Flags.packer_type, content, 0) if position is None else position
        self._table = flatbuffers.table.Table(content, start)

    def _at(self, slot: int) -> int:
        offset = self._table.Offset(4 + 2 * slot)
        return self._table.Pos + offset if offset else 0

    def text(self, slot: int) -> str:
        return self._table.String(self._at(slot)).decode() if self._at(slot) else ""

    def number(self, slot: int, kind=Int8Flags) -> int:
        return self._table.Get(kind, self._at(slot)) if self._at(slot) else 0

    def child(self, slot: int) -> Table:
        return Table(self._content, self._table.Indirect(self._at(slot)))

    def children(self, slot: int) -> list[Table]:
        offset = self._table.Offset(4 + 2 * slot)
        start = self._table.Vector(offset)
        places = range(start, start + 4 * self._table.VectorLen(offset), 4)
        return [Table(self._content, self._table.Indirect(place)) for place in places]

    def floats(self, slot: int) -> list[float]:
        return self._table.GetVectorAsNumpy(Float32Flags, self._table.Offset(4 + 2 * slot)).tolist()


def model_metadata(path: Path) -> Table:
    model = graph.read(path.read_bytes())
    [entry] = [item for item in model.metadata if item.name == b"TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    return Table(content)


@pytest.fixture(scope="module")
def described(bundle, tmp_path_factory) -> Path:
    """A file of a bundle whose provenance says more than the small student's."""
    names = {
        "author": "Ada",
        "license": "CC-BY-4.0",
        "seed": 7,
        "recipe_sha256": "ab" * 32,
        "teacher": {"name": "vit", "fingerprint": "f" * 64, "metrics": {"top1": 0.9}},
        "data": {"path": "/home/ada/photos", "fingerprint": "d" * 64, "train": 36, "val": 12, "val_fraction": 0.25},
    }
    path = tmp_path_factory.mktemp("described") / "file.tflite"
    with captured():
        litert.convert(students.load(bundle), replace(bundle, provenance=names), "fp32", np.empty(0), path)
    return path


def test_mediapipe_and_ml_kit_find_everything_in_its_place(described, bundle):
    model = model_metadata(described)
    assert (model.text(0), model.text(2), model.text(7)) == (bundle.name, bundle.fingerprint[:12], "1.0.0")
    assert "3 classes" in model.text(1) and "centre 32 x 32" in model.text(1)
    assert (model.text(4), model.text(5)) == ("Ada", "CC-BY-4.0")
    assert [item.text(0) for item in model.children(6)] == ["attar.json"]
    [subgraph] = model.children(3)
    [image], [output] = subgraph.children(2), subgraph.children(3)
    content = image.child(3)
    assert image.text(0) == "image" and content.number(0) == 2  # ImageProperties
    size = content.child(1).child(1)
    assert content.child(1).number(0) == 1  # RGB
    assert (size.number(0, Uint32Flags), size.number(1, Uint32Flags)) == (32, 32)
    [unit] = image.children(4)
    assert unit.number(0) == 1 and (unit.child(1).floats(0), unit.child(1).floats(1)) == ([0.0], [1.0])
    assert (image.child(5).floats(0), image.child(5).floats(1)) == ([255.0], [0.0])
    [labels] = output.children(6)
    assert output.text(0) == "probabilities"
    assert (labels.text(0), labels.number(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(described) as archive:
        assert archive.read("labels.txt").decode().split() == list(bundle.labels)


def test_the_file_says_where_it_comes_from_and_nothing_of_this_machine(described, bundle):
    facts = metadata.read_about(described)
    assert facts["fingerprint"] == bundle.fingerprint and facts["target"] == "litert:fp32"
    assert Preprocessing.from_json(facts["preprocessing"]) == bundle.preprocessing
    assert facts["teacher"]["name"] == "vit" and facts["license"] == "CC-BY-4.0"
    assert facts["data"] == {"fingerprint": "d" * 64, "train": 36, "val": 12}
    assert "/home" not in json.dumps(facts)
    assert metadata.read_about(Path(__file__)) == {}


@pytest.mark.optional
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_mediapipe_classifies_with_the_file_alone(exported, bundle, photos, precision):
    tasks = pytest.importorskip("mediapipe.tasks.python")
    mediapipe = pytest.importorskip("mediapipe")
    path = exported / f"litert-{precision}.tflite"
    options = tasks.vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=str(path)))
    pixels = bundle.preprocessing(__import__("PIL.Image").Image.open(photos.val[0].path))
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
    with tasks.vision.ImageClassifier.create_from_options(options) as classifier:
        answer = {c.category_name: c.score for c in classifier.classify(image).classifications[0].categories}
    expected = litert.open_runner(path).predict(pixels[None])[0]
    np.testing.assert_allclose([answer[label] for label in bundle.labels], expected, atol=0.01)


# --- the runtime that a file needs ---------------------------------------------------------------

NEEDED = {
    # The float graph's fully connected layers keep their dimensions: version 5, TFLite 2.0.
    "fp32": {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 5},
    "fp16": {"CONV_2D": 1, "DEQUANTIZE": 3},
    "int8": {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "MEAN": 2, "QUANTIZE": 1, "DEQUANTIZE": 2},
}


@pytest.mark.parametrize("precision", NEEDED)
def test_operators_declare_the_versions_that_their_tensors_need(exported, precision):
    path = exported / f"litert-{precision}.tflite"
    model = graph.read(path.read_bytes())
    names = versions._names("BuiltinOperator")
    declared = {names[code.builtinCode]: code.version for code in model.operatorCodes}
    assert {name: declared[name] for name in NEEDED[precision]} == NEEDED[precision]
    [stated] = [bytes(model.buffers[m.buffer].data) for m in model.metadata if m.name == b"min_runtime_version"]
    entry = next(e for e in read_manifest(exported).files if e.file == path.name)
    assert stated.rstrip(b"\0").decode() == entry.min_runtime == litert.min_runtime(path) == "2.0.0"


def test_the_newest_operator_decides_and_an_unknown_one_leaves_it_open(exported):
    model = graph.read((exported / "litert-fp32.tflite").read_bytes())
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    code = model.operatorCodes[0]
    code.builtinCode, code.version = schema.BuiltinOperator.GELU, 2
    assert versions.minimum(model) == "2.9.0"
    code.version = 3
    assert versions.minimum(model) is None
    code.builtinCode, code.version = schema.BuiltinOperator.STABLEHLO_ADD, 1
    assert versions.minimum(model) is None
