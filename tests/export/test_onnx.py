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
def test_the_reference_evaluator_gives_the_same_answers(exported, photos, bundle, precision: str) -> None:
    """It knows the integer operators from version 19 on, so it is given a copy of that version."""
    import onnx
    from onnx import version_converter
    from onnx.reference import ReferenceEvaluator

    path = exported / f"onnx-{precision}.onnx"
    pixels = load_pixels(photos.val[:2], bundle.preprocessing)
    newer = version_converter.convert_version(onnx.load(path), 19)
    [found] = ReferenceEvaluator(newer).run([PROBABILITIES], {"image": pixels})
    np.testing.assert_allclose(found, open_runner(path).predict(pixels), atol=1e-3)
