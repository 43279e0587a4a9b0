"""What an .onnx file asks of the program that reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attar.data.photos import load_pixels
from attar.export.onnx import OPSET, PROBABILITIES, open_runner

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_file_imports_only_the_operators_that_it_uses(exported: Path, precision: str) -> None:
    """The quantizer imports eight of Microsoft's sets that no node of an int8 file belongs to."""
    import onnx

    model = onnx.load(exported / f"onnx-{precision}.onnx")
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_file_begins_with_the_pixel_as_a_quantized_tensor(exported: Path, precision: str) -> None:
    """Compilers for a Snapdragon's NPU make x / 255 of a Cast from uint8 to float."""
    import onnx

    graph = onnx.load(exported / f"onnx-{precision}.onnx").graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    [first] = [node for node in graph.node if graph.input[0].name in node.input]
    assert first.op_type == "DequantizeLinear"
    scale, zero = (constants[name] for name in first.input[1:])
    assert scale == 1 / 128 and zero == 128 and scale.dtype == np.float32 and zero.dtype == np.uint8
    assert not any(node.op_type == "Cast" and node.input[0] not in constants for node in graph.node)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_reference_evaluator_gives_the_same_answers(exported, photos, bundle, precision: str) -> None:
    """It knows the integer operators from version 19 on, so it is given a copy of that version."""
    import onnx
    from onnx import version_converter
    from onnx.reference import ReferenceEvaluator

    path = exported / f"onnx-{precision}.onnx"
    pixels = load_pixels(photos.val[:2], bundle.preprocessing)
    newer = version_converter.convert_version(onnx.load(path), 19)
    [outputs] = ReferenceEvaluator(newer).run([PROBABILITIES], {"image": pixels})
    np.testing.assert_allclose(outputs, open_runner(path).predict(pixels), atol=1e-3)
