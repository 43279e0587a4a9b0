"""Integer .onnx files by a plan: ranges, layers that stay float, and what NPUs want."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from attar import students
from attar.data.photos import load_pixels
from attar.export import ranges
from attar.export.npu import emulator
from attar.export.onnx import float_content
from attar.export.plan import RANGES, QuantizationPlan
from attar.export.qdq import Device, Quantization, observe, with_wide_pixels

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CPU, NPU, WIDE = Device(), Device(npu=True), Device(npu=True, bits=16)


@pytest.fixture(scope="module")
def content(bundle) -> bytes:
    return float_content(students.load(bundle), bundle)


@pytest.fixture(scope="module")
def images(photos, bundle) -> np.ndarray:
    return load_pixels(photos.train[:12], bundle.preprocessing)


@pytest.fixture(scope="module")
def made(content, images) -> Any:
    """Device, plan -> the quantization and its graph."""
    quantization = cache(lambda device: Quantization(content, images, device))

    def make(device: Device, plan: QuantizationPlan) -> tuple[Quantization, Any]:
        return quantization(device), onnx.load_model_from_string(quantization(device).quantize(plan))

    return cache(make)


def answers(content: bytes, images: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"image": images})[0]


def constants(model: Any) -> dict[str, np.ndarray]:
    return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}


def steps(model: Any) -> dict[str, float]:
    """Each quantized activation -> its scale."""
    values = constants(model)
    return {
        node.input[0]: float(values[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"
    }


def test_ranges_are_those_of_onnxruntimes_own_calibrator(content, images, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, create_calibrator

    left = iter(images)

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(left, None)
            return None if image is None else {"image": image[None]}

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content))
    onnx.save(model, tmp_path / "float.onnx")
    calibrator = create_calibrator(tmp_path / "float.onnx", augmented_model_path=str(tmp_path / "shown.onnx"))
    calibrator.collect_data(Reader())
    expected = calibrator.compute_data()
    seen = observe(model, images)
    shared = [name for name in seen if name in expected.data]
    assert len(shared) > 40
    for name in shared:
        low, high = (np.asarray(each).item() for each in expected[name].range_value)
        assert ranges.whole(seen[name]) == pytest.approx((low, high), rel=1e-4, abs=1e-5), name


def test_the_pixels_keep_their_own_scale(made, content, images):
    assert not any(
        "image" in name or "normalized" in name for name in observe(made(CPU, QuantizationPlan())[0]._model, images)
    )
    for device, scale in ((CPU, 1 / 128), (NPU, 1 / 128), (WIDE, 1 / 32768)):
        scales = [value for name, value in steps(made(device, QuantizationPlan())[1]).items() if "normalized" in name]
        assert scales == [pytest.approx(scale, rel=1e-7)]


@pytest.mark.parametrize("kind", [kind for kind in RANGES if kind != "whole"])
def test_narrower_ranges_make_finer_steps(made, kind):
    whole, narrow = (steps(made(CPU, QuantizationPlan(ranges=each))[1]) for each in ("whole", kind))
    assert list(whole) == list(narrow)
    ratios = [narrow[name] / whole[name] for name in whole]
    assert max(ratios) < 1.0001 and sum(ratio < 0.999 for ratio in ratios) > 10


def test_every_operator_belongs_to_one_layer(made):
    quantization, _ = made(CPU, QuantizationPlan())
    members = [node for nodes in quantization._layers.values() for node in nodes]
    assert len(members) == len(set(members)) and set(members) <= {node.name for node in quantization._model.graph.node}
    weighted = [node for node in quantization._model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(quantization.layers) == len(weighted) > 40
    assert quantization.layers[0] == "backbone.conv_stem" and quantization.layers[-1] == "head.classifier"


def test_layers_that_stay_float_have_float_weights_and_the_others_integers(made):
    quantization, _ = made(CPU, QuantizationPlan())
    kept = quantization.layers[2:4]
    _, model = made(CPU, QuantizationPlan(keep_float=kept))
    values = constants(model)
    floats = {
        node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm") and node.input[1] in values
    }
    assert floats == {f"network.{name}.weight" for name in kept}


@pytest.mark.parametrize("device", [CPU, NPU, WIDE], ids=["cpu", "npu", "wide"])
def test_with_every_layer_float_the_file_is_the_students(made, content, images, device):
    quantization, _ = made(device, QuantizationPlan())
    floats = quantization.quantize(QuantizationPlan(keep_float=quantization.layers))
    np.testing.assert_allclose(answers(floats, images), answers(content, images), atol=1e-4)


def test_a_hard_swish_that_stays_float_is_one_operator(made):
    def kinds(*layers: str) -> list[str]:
        return [node.op_type for node in made(CPU, QuantizationPlan(keep_float=layers))[1].graph.node]

    quantization, _ = made(CPU, QuantizationPlan())
    whole, none = kinds(*quantization.layers), kinds()
    assert whole.count("HardSwish") > 10 and "HardSwish" not in none
    # Squeeze-excites have hard sigmoids of their own.
    assert whole.count("HardSigmoid") == none.count("HardSigmoid") - whole.count("HardSwish") > 5
    assert kinds(quantization.layers[0]).count("HardSwish") == 1  # of the first convolution


@pytest.mark.parametrize("device", [CPU, NPU, WIDE], ids=["cpu", "npu", "wide"])
def test_the_integers_answer_nearly_as_the_student(made, content, images, device):
    quantization, _ = made(device, QuantizationPlan())
    away = np.abs(answers(quantization.quantize(QuantizationPlan()), images) - answers(content, images)).max(1)
    assert 0 < away.mean() < 0.2


@pytest.mark.parametrize(("device", "dtype"), [(NPU, np.uint8), (WIDE, np.uint16)])
def test_the_npu_gets_every_operator_in_integers_but_softmax(made, device, dtype):
    _, model = made(device, QuantizationPlan())
    values = constants(model)
    given = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Softmax"):
            continue
        sources = [given.get(name) for name in node.input if name and name not in values]
        assert all(source is not None and source.op_type == "DequantizeLinear" for source in sources), node.name
    zeros = {values[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {np.dtype(dtype)}


def of_norms(operator: str) -> bytes:
    """A file of four pixels: their layer norm, or each divided by its length."""
    helper, numbers = onnx.helper, onnx.numpy_helper.from_array
    node = helper.make_node
    ways = {
        "LayerNormalization": [node("LayerNormalization", ["values", "weight", "bias"], ["output"])],
        "Expand": [
            node("ReduceL2", ["values", "axes"], ["lengths"], keepdims=1),
            node("Clip", ["lengths", "least"], ["clipped"]),
            node("Shape", ["values"], ["shape"]),
            node("Expand", ["clipped", "shape"], ["expanded"]),
            node("Div", ["values", "expanded"], ["output"]),
        ],
    }
    constants = {
        "scale": np.float32(1 / 128),
        "zero": np.uint8(128),
        "weight": np.array([0.5, -1, 2], np.float32),
        "bias": np.array([0.1, 0, -0.1], np.float32),
        "axes": np.array([-1], np.int64),
        "least": np.float32(1e-12),
    }
    nodes = [node("DequantizeLinear", ["image", "scale", "zero"], ["values"]), *ways[operator]]
    named = {name for each in nodes for name in each.input}
    graph = helper.make_graph(
        nodes,
        "norms",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["batch", 2, 2, 3])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["batch", 2, 2, 3])],
        [numbers(value, name) for name, value in constants.items() if name in named],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


NORMED = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 3), np.uint8)


@pytest.mark.parametrize("device", [CPU, NPU, WIDE], ids=["cpu", "npu", "npu, 16 bits"])
@pytest.mark.parametrize("operator", ["LayerNormalization", "Expand"])
def test_norms_become_integers(operator, device):
    """Of the second, ONNX Runtime's inference of shapes fails."""
    content = of_norms(operator)
    quantized = Quantization(content, NORMED, device).quantize(QuantizationPlan())
    expected, found = answers(content, NORMED), answers(quantized, NORMED)
    assert np.abs(expected - found).max() < 0.03 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("device", [NPU, WIDE], ids=["8 bits", "16 bits"])
def test_the_npu_takes_a_layer_norm_in_integers(device):
    pytest.importorskip("onnxruntime_qnn")
    quantized = Quantization(of_norms("LayerNormalization"), NORMED, device).quantize(QuantizationPlan())
    assert emulator.compiled(quantized, "sm8750")


def test_sixteen_bits_hold_every_pixel_exactly(content):
    pixels = np.arange(256, dtype=np.uint8).repeat(12)[: 32 * 32 * 3].reshape(1, 32, 32, 3)
    np.testing.assert_array_equal(answers(content, pixels), answers(with_wide_pixels(content), pixels))
