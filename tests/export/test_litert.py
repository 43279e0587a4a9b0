"""LiteRT's graphs: one partition for every family and precision, an exact and free image input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers import HardSwish, LayerScale2d
from timm.models.mobilevit import LinearSelfAttention

from attar import students
from attar.export import litert
from attar.export.artifact_cache import kept_in
from attar.export.capture_output import captured
from attar.export.formats import FORMATS
from attar.export.tflite import graph, versions
from attar.export.tflite.layers import layers
from attar.preprocessing import Preprocessing
from attar.students.rewrites import phone_safe
from helpers.pictures import SHAPES, draw

for package in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"):
    pytest.importorskip(package)

SIDE = 64
PRECISIONS = tuple(FORMATS["litert"].precisions)
FAMILIES = ["mobilenetv3_small_050", "mobilenetv4_hybrid_medium"]


def pixels(count: int) -> np.ndarray:
    shapes = [draw(SHAPES[number % 3], number, SIDE) for number in range(count)]
    return np.stack([np.asarray(shape) for shape in shapes])


@pytest.fixture(scope="module", params=FAMILIES)
def made(request, tmp_path_factory):
    """An untrained student whose batch norms know the images, its bundle, its file at each precision, its answers."""
    torch.manual_seed(0)
    student = students.create_student(request.param, 3, head_width=32)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
        elif isinstance(module, LayerScale2d):
            torch.nn.init.constant_(module.gamma, 0.5)  # as training leaves it; 1e-5, the start, is lost in fp16
    images = torch.from_numpy(pixels(24)).permute(0, 3, 1, 2)
    with torch.no_grad():
        student.train()(images)
        largest = student.eval()(images).abs().max()
        student.network.get_submodule("head.classifier").weight.mul_(3 / largest)  # probabilities that are not all 1/3
    folder = tmp_path_factory.mktemp("student")
    bundle = students.save(student, folder / "b", labels=("a", "b", "c"), preprocessing=Preprocessing(SIDE))
    (folder / "shared").mkdir()
    with kept_in(folder / "shared"), captured():
        for precision in PRECISIONS:
            litert.convert(student, bundle, precision, pixels(24), folder / f"{precision}.tflite")
    with torch.no_grad():
        return student, bundle, folder, torch.softmax(student(images), 1).numpy()


@pytest.mark.slow
def test_every_file_is_one_partition_and_computes_the_student(made):
    student, _, folder, want = made
    assert want.max() - want.min() > 0.3  # else any file would be close
    limits = {"fp32": 1e-4, "fp16": 2e-2, "w8": 5e-2, "dyn8": 5e-2, "int8": 0.25}
    # Untrained, the hybrid magnifies what eight bits leave out: only its graph counts.
    if "hybrid" in student.architecture["name"]:
        limits |= {"w8": 1.0, "dyn8": 1.0, "int8": 1.0}
    limits["int8+fp"] = limits["int8"]  # without a search for layers to keep float, the same
    assert set(limits) == set(PRECISIONS)
    for precision, limit in limits.items():
        runner = litert.open_runner(folder / f"{precision}.tflite")
        assert runner.partitions == {"delegated": 1, "outside": []}, precision
        assert runner.signature["input"] == {"name": "image", "shape": [1, SIDE, SIDE, 3], "dtype": "uint8"}
        assert np.abs(runner.predict(pixels(24)) - want).max(1).mean() < limit, precision


@pytest.mark.slow
def test_smaller_weights_are_smaller(made):
    _, _, folder, _ = made
    size = {precision: (folder / f"{precision}.tflite").stat().st_size for precision in PRECISIONS}
    assert size["fp16"] < 0.65 * size["fp32"]
    assert max(size["w8"], size["dyn8"], size["int8"]) < 0.45 * size["fp32"]


@pytest.mark.slow
def test_a_mean_of_integers_declares_the_version_that_has_it(made):
    _, _, folder, _ = made
    names = versions._names("BuiltinOperator")
    codes = graph.read((folder / "int8.tflite").read_bytes()).operatorCodes
    assert {names[code.builtinCode]: code.version for code in codes}["MEAN"] == 2


@pytest.mark.slow
def test_the_smallest_layers_keep_their_weights(made):
    _, _, folder, _ = made
    true = {layer.name: layer.weight for layer in layers(graph.read((folder / "fp32.tflite").read_bytes()))}
    for precision in ("w8", "dyn8"):
        weights = {item.name: item.weight for item in layers(graph.read((folder / f"{precision}.tflite").read_bytes()))}
        # Rounded weights stand behind an operator that makes them float, or are themselves other numbers.
        kept = {name for name, weight in true.items() if name in weights and np.array_equal(weights[name], weight)}
        sizes = {name: weight.size for name, weight in true.items()}
        assert kept and sum(sizes[name] for name in kept) <= 0.01 * sum(sizes.values())
        assert max(sizes[name] for name in kept) <= min(size for name, size in sizes.items() if name not in kept)


@pytest.mark.slow
def test_the_image_input_is_exact(made):
    """Every pixel value, in the bare network's own units, and in the file's: bit for bit the same answer."""
    student, bundle, folder, _ = made
    every = np.arange(3 * SIDE * SIDE, dtype=np.uint8).reshape(1, SIDE, SIDE, 3)
    for precision, inner in (("fp32", (every.astype(np.float32) - 128) / 128), ("int8", (every ^ 128).view(np.int8))):
        with kept_in(folder / "shared"), captured():
            bare = interpreter(litert.convert_network(student, bundle, precision, pixels(24)))
        bare.set_tensor(bare.get_input_details()[0]["index"], inner)
        bare.invoke()
        want = bare.get_tensor(bare.get_output_details()[0]["index"])
        assert np.array_equal(litert.open_runner(folder / f"{precision}.tflite").predict(every), want)


def interpreter(content: bytes):
    loaded = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=content)
    loaded.allocate_tensors()
    return loaded


@pytest.mark.slow
def test_operators(made):
    """What the passes promise of the graph holds in the file: the converter undoes nothing."""
    student, _, folder, _ = made
    counts = {precision: operators(folder / f"{precision}.tflite") for precision in PRECISIONS}
    swishes = sum(isinstance(m, (torch.nn.Hardswish, HardSwish)) for m in student.modules())
    assert counts["fp32"].count("HARD_SWISH") == swishes and counts["int8"].count("HARD_SWISH") == 0
    assert counts["int8"].count("MUL") == counts["fp32"].count("MUL") + swishes
    assert counts["fp32"].count("BROADCAST_TO") == 0 and counts["fp32"].count("FULLY_CONNECTED") == 1
    assert counts["int8"][:2] == ["DEQUANTIZE", "QUANTIZE"] and counts["fp32"][0] == "DEQUANTIZE"


def operators(path) -> list[str]:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = graph.read(path.read_bytes())
    return [names[model.operatorCodes[operator.opcodeIndex].builtinCode] for operator in model.subgraphs[0].operators]


def test_separable_attention_converts():
    """timm's own spelling of MobileViTv2's attention fails in the converter."""
    import litert_torch

    torch.manual_seed(0)
    attention = torch.nn.Sequential(LinearSelfAttention(8)).eval()
    example = torch.randn(1, 8, 4, 6)
    with captured():
        file = litert_torch.convert(phone_safe(attention), (example,))
        answer = file(example)
    with torch.no_grad():
        np.testing.assert_allclose(answer, attention(example).numpy(), atol=1e-5)
