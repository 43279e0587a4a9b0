"""Files for a Snapdragon's NPU, and ONNX files on it: the vendor's compiler and emulator, for real."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import parser as onnx_parser
from onnxruntime import InferenceSession

from attar import students
from attar.benchmarks.predict import open_model
from attar.data.photos import load_pixels
from attar.errors import GateError, MissingExtra, Unsupported
from attar.export import onnx, qnn
from attar.export.export import export_student
from attar.export.manifest import Manifest, read_manifest
from attar.export.npu import emulator
from attar.export.npu.socs import SOCS
from attar.export.plan import QuantizationPlan
from attar.export.runners import open_runner
from attar.export.targets import Target, parse_targets, require_targets
from attar.export.verify import OPINION_PHOTOS, _emulable, check, student_reference, verify
from attar.inference import predict
from helpers.small import DROP

TARGETS = ["onnx:fp32", "onnx:int8", "qnn:fp16", "qnn:int8", "qnn:w8a16", "qnn:int8+sm8650"]
FILES = [parse_targets([name])[0].file for name in TARGETS]


@pytest.fixture(scope="module", autouse=True)
def npu() -> Iterator[None]:
    """The emulated NPU, which other tests do without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ATTAR_NPU")
        if not emulator.is_wanted():
            pytest.skip("onnxruntime-qnn is not installed")
        yield


@pytest.fixture(scope="module")
def folder(bundle, photos, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("npu") / "exports"
    export_student(bundle, TARGETS, path, photos=photos, max_drop=DROP)
    return path


@pytest.fixture(scope="module")
def manifest(folder) -> Manifest:
    return read_manifest(folder)


@pytest.mark.slow
def test_every_file_is_right_on_the_npu(manifest, photos):
    assert [entry.file for entry in manifest.files] == [
        *("onnx-fp32.onnx", "onnx-int8.onnx", "qnn-fp16-sm8750.ctx.onnx"),
        *("qnn-int8-sm8650.ctx.onnx", "qnn-int8-sm8750.ctx.onnx", "qnn-w8a16-sm8750.ctx.onnx"),
    ]
    for entry in manifest.files:
        on_npu = entry.verification["second_opinions"].get(emulator.NAME, entry.verification)
        assert "emulated NPU of sm8" in on_npu["evaluator"] and "onnxruntime-qnn" in on_npu["evaluator"]
        assert on_npu["images"] == len(photos.val)
        integer = "int8" in entry.file or "w8a16" in entry.file
        # How well so small a student takes integers differs from processor to processor: each trains another one.
        assert integer or on_npu["clear_agreement"] == 1, entry.target
        assert on_npu["mean_abs_error"] < (0.15 if integer else 0.01), entry.target


@pytest.mark.slow
@pytest.mark.parametrize("file", [name for name in FILES if name.startswith("qnn")])
def test_a_file_is_one_node_for_its_chip_and_says_what_it_is(folder, bundle, file):
    import onnx

    model = onnx.load(folder / file)
    assert [node.op_type for node in model.graph.node] == ["EPContext"]
    facts = {prop.key: prop.value for prop in model.metadata_props}
    soc = file.split("-")[2].partition(".")[0]
    assert facts["soc"] == soc and facts["target"] == str(Target("qnn", file.split("-")[1], soc))
    assert f":{SOCS[soc].arch}:{SOCS[soc].model}:" in facts["ep_compatibility_info.QNNExecutionProvider"]
    assert json.loads(facts["labels"]) == list(bundle.labels)
    assert f"soc_type={soc.upper()};arch={SOCS[soc].arch};".encode() in (folder / file).read_bytes()
    runner = open_runner(folder / file)
    side = bundle.preprocessing.size
    assert runner.signature == {
        "input": {"name": "image", "shape": [1, side, side, 3], "dtype": "uint8"},
        "output": {"name": "probabilities", "shape": [1, len(bundle.labels)], "dtype": "float32"},
    }


@pytest.mark.slow
def test_predict_asks_a_compiled_file_too(folder, photos, bundle):
    path = folder / "qnn-fp16-sm8750.ctx.onnx"
    pixels = load_pixels(photos.val[:3], bundle.preprocessing)
    model = open_model(path)
    assert model.labels == bundle.labels and model.preprocessing == bundle.preprocessing
    np.testing.assert_array_equal(model.answer(pixels), open_runner(path).predict(pixels))


@pytest.mark.slow
def test_verification_proves_the_files_again(folder, bundle, photos, tmp_path):
    before = read_manifest(folder)
    after = verify(folder, bundle=bundle, photos=photos, max_drop=DROP)
    assert [entry.file for entry in after.files] == [entry.file for entry in before.files] and not after.failed
    for one, two in zip(before.files, after.files):
        assert one.verification == two.verification, one.target


@pytest.mark.slow
def test_a_file_that_begins_with_a_cast_is_refused(folder, bundle, photos, tmp_path):
    """As attar 0.1 wrote them: right on every CPU, and on the NPU one class for every photo."""
    path = tmp_path / "onnx-fp32.onnx"
    path.write_bytes(begin_with_cast((folder / path.name).read_bytes()))
    reference = student_reference(bundle, photos, 1000)
    with pytest.raises(GateError, match=f"{emulator.NAME} diverges from the first evaluator"):
        check(path, Target("onnx", "fp32"), reference, DROP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTAR_NPU", "0")
        assert check(path, Target("onnx", "fp32"), reference, DROP).verification["agreement"] == 1


def begin_with_cast(content: bytes) -> bytes:
    import onnx

    model = onnx.load_model_from_string(content)
    dequantize, transpose = model.graph.node[:2]
    helper, numbers = onnx.helper, onnx.numpy_helper.from_array
    model.graph.initializer.extend([numbers(np.float32(128), "cast.mean"), numbers(np.float32(1 / 128), "cast.factor")])
    rest = list(model.graph.node)[2:]
    del model.graph.node[:]
    model.graph.node.extend(
        [
            helper.make_node("Transpose", [dequantize.input[0]], ["turned"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["turned"], ["cast"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Sub", ["cast", "cast.mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "cast.factor"], [transpose.output[0]]),
            *rest,
        ]
    )
    return bytes(model.SerializeToString())


@pytest.mark.slow
def test_layers_may_stay_in_half_precision(bundle, photos, tmp_path):
    """All of them: then the file answers as the student does, and not as integers do."""
    pixels = load_pixels(photos.train[:12], bundle.preprocessing)
    by_plan = qnn.ByPlan(students.load(bundle), bundle, "int8+fp", pixels, soc="sm8750")
    reference = student_reference(bundle, photos, 1000)
    away = []
    for kept in ((), by_plan.layers):
        plan = QuantizationPlan(keep_float=kept)
        by_plan.write(plan, tmp_path / "model.ctx.onnx")
        outputs = open_runner(tmp_path / "model.ctx.onnx").predict(reference.pixels)
        # What plans are ranked by. One step of an integer moves a probability that is near a half by a tenth or more:
        # the limit is half of how far the answers to different photos are from one another.
        told = by_plan.predict(plan, reference.pixels)
        others = np.mean([np.abs(told - np.roll(outputs, by, axis=0)).mean() for by in range(1, len(outputs))])
        assert np.abs(told - outputs).mean() < (0.02 if kept else others / 2), (kept, others)
        away.append(np.abs(outputs - reference.probabilities).max())
    assert away[1] < 0.05 and away[1] < away[0]


@pytest.mark.slow
def test_an_onnx_file_with_layers_in_float_is_right_on_the_npu_too(bundle, photos, tmp_path):
    pixels = load_pixels(photos.train[:12], bundle.preprocessing)
    by_plan = onnx.ByPlan(students.load(bundle), bundle, "int8+fp", pixels)
    by_plan.write(QuantizationPlan(keep_float=by_plan.layers), tmp_path / "model.onnx")
    outputs = emulator.NpuRunner(tmp_path / "model.onnx").answers(pixels)
    assert np.abs(outputs - predict(students.load(bundle), pixels)).max() < 0.05


# --- the compiler --------------------------------------------------------------------------------


def small_model(operator: str, **attributes: Any) -> bytes:
    """One operator on four pixels."""
    import onnx

    helper, types = onnx.helper, onnx.TensorProto
    image = helper.make_tensor_value_info("image", types.UINT8, ["batch", 2, 2, 3])
    output = helper.make_tensor_value_info("output", types.FLOAT, None)
    numbers = onnx.numpy_helper.from_array
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["image", "scale", "zero"], ["values"]),
            helper.make_node(operator, ["values"], ["output"], **attributes),
        ],
        "small",
        [image],
        [output],
        [numbers(np.float32(1 / 128), "scale"), numbers(np.uint8(128), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize("soc", SOCS)
def test_the_compiler_knows_each_chip_by_the_numbers_of_the_table(soc):
    """What it writes names the chip and the version of its NPU."""
    content = emulator.compiled(small_model("Relu"), soc)
    assert f"soc_type={soc.upper()};arch={SOCS[soc].arch};".encode() in content


@pytest.mark.slow
def test_the_same_model_gives_the_same_file():
    model = small_model("Relu")
    assert emulator.compiled(model, "sm8750") == emulator.compiled(model, "sm8750")


@pytest.mark.slow
def test_an_operator_that_the_npu_does_not_take_is_named(tmp_path):
    model = small_model("Celu")
    with pytest.raises(Unsupported, match=r"the NPU of sm8650 does not take Celu .*Choose a student without"):
        emulator.compiled(model, "sm8650")
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    with pytest.raises(Unsupported, match="sm8750 does not take Celu"):
        emulator.NpuRunner(path).answers(np.zeros((1, 2, 2, 3), np.uint8))


@pytest.mark.slow
def test_an_operator_of_too_many_dimensions_is_named():
    """A CPU takes six, and timm makes windows of an image with them."""
    numbers = (
        "int64[6] six = {2, 2, 2, 2, 2, 2}, int64[4] four = {1, 8, 2, 4}, float scale = {0.01}, uint8 zero = {128}"
    )
    model = onnx_parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        windows (uint8[1, 4, 4, 4] image) => (float[1, 8, 2, 4] output) <{numbers}> {{
            values = DequantizeLinear(image, scale, zero)
            apart = Reshape(values, six)
            rows = Transpose <perm = [0, 2, 1, 4, 3, 5]> (apart)
            output = Reshape(rows, four)
        }}"""
    ).SerializeToString()
    assert InferenceSession(model).run(None, {"image": np.zeros((1, 4, 4, 4), np.uint8)})[0].shape == (1, 8, 2, 4)
    with pytest.raises(Unsupported, match="does not take Reshape of 6 dimensions, Transpose of 6 dimensions"):
        emulator.compiled(model, "sm8750")


@pytest.mark.slow
def test_an_onnx_file_that_the_npu_does_not_take_is_no_wrong_file(folder, bundle, photos, monkeypatch):
    def refuse(self: Any, pixels: np.ndarray) -> np.ndarray:
        raise Unsupported("the NPU of sm8750 does not take Celu")

    monkeypatch.setattr(emulator.NpuRunner, "answers", refuse)
    entry = check(folder / "onnx-fp32.onnx", Target("onnx", "fp32"), student_reference(bundle, photos, 1000), DROP)
    assert entry.verification["second_opinions"] == {} and "does not take Celu" in entry.verification["remark"]


def test_a_file_that_is_no_model_fails_with_what_the_compiler_says():
    with pytest.raises(GateError, match="exit code 1"):
        emulator.compiled(b"no model", "sm8750")


# --- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "images"), [(224, 32), (320, 32), (112, 128), (32, 1000)])
def test_an_emulator_is_asked_about_32_photos_and_more_where_they_are_small(size, images):
    assert len(_emulable(1000, size)) == images >= OPINION_PHOTOS


def test_the_documents_list_every_chip():
    listed = (Path(__file__).parents[2] / "docs" / "accelerators.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | {soc.title} | v{soc.arch} |" for name, soc in SOCS.items()]
    assert "\n".join(rows) in listed


def test_another_processor_is_told_that_it_cannot(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    with pytest.raises(MissingExtra, match="is for x86_64 and AMD64, and this processor is aarch64"):
        require_targets(parse_targets(["qnn:int8"]))


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    with pytest.raises(MissingExtra, match=r"attar\[qnn\]"):
        require_targets(parse_targets(["qnn:int8"]))
