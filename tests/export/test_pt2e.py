"""Integer ExecuTorch programs by a plan: ranges, and layers that stay float."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from attar import students
from attar.data.photos import load_pixels
from attar.export import executorch
from attar.export.plan import RANGES, QuantizationPlan
from attar.export.pt2e import Quantization, _config, _recorder, _weight, _without_observers
from attar.inference import predict

pytest.importorskip("executorch")
pytest.importorskip("torchao")


@pytest.fixture(scope="module")
def images(photos, bundle) -> np.ndarray:
    return load_pixels(photos.train[:12], bundle.preprocessing)


@pytest.fixture(scope="module")
def program(bundle) -> Any:
    return executorch._program(students.load(bundle), bundle)


@pytest.fixture(scope="module")
def quantization(program, images) -> Quantization:
    return Quantization(program, images)


def scales(module: torch.nn.Module) -> list[float]:
    """Of every quantized activation."""
    return [float(node.args[1]) for node in module.graph.nodes if "quantize_per_tensor.default" in str(node.target)]


def test_ranges_are_those_of_torchaos_own_observers(program, images, quantization):
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from torchao.quantization.pt2e import MinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = _config(xnnpack_quantizer, len(images))
    spec = replace(config.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-12))
    quantizer = xnnpack_quantizer.XNNPACKQuantizer()
    quantizer.set_global(replace(config, input_activation=spec, output_activation=spec))
    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for image in images:
            prepared(torch.from_numpy(image[None]))
    ours, theirs = quantization.quantize(QuantizationPlan()), convert_pt2e(prepared)
    assert len(scales(theirs)) > 40 and scales(ours) == pytest.approx(scales(theirs), rel=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in RANGES if kind != "whole"])
def test_narrower_ranges_make_finer_steps(quantization, kind):
    whole, narrow = (np.array(scales(quantization.quantize(QuantizationPlan(ranges=each)))) for each in ("whole", kind))
    assert (narrow <= whole * 1.0001).all() and (narrow < whole * 0.999).sum() > 10


def test_every_operator_with_weights_begins_a_layer(quantization):
    assert quantization.layers[0] == "network.backbone.conv_stem"
    assert quantization.layers[-1] == "network.head.classifier"
    weighted = [node for node in quantization._prepared.graph.nodes if node.op == "call_function" and _weight(node)]
    assert len(quantization.layers) == len(weighted) == len(set(quantization.layers)) > 40


def test_layers_that_stay_float_have_nothing_quantized_before_them(quantization):
    kept = quantization.layers[2:4]
    prepared = _without_observers(copy.deepcopy(quantization._prepared), kept)
    for node in prepared.graph.nodes:
        if node.op == "call_function" and (name := _weight(node)):
            observed = [
                isinstance(prepared.get_submodule(str(s.target)), _recorder())
                for s in node.all_input_nodes[:1]
                if s.op == "call_module"
            ]
            assert observed == ([] if name in kept else [True]), name


def test_with_every_layer_float_the_program_is_the_students(quantization, bundle, images):
    outputs = quantization.predict(QuantizationPlan(keep_float=quantization.layers), images)
    np.testing.assert_allclose(outputs, predict(students.load(bundle), images), atol=1e-5)
    integers = quantization.predict(QuantizationPlan(), images)
    assert 1e-5 < np.abs(integers - outputs).max(1).mean() < 0.2


def test_a_plan_leaves_the_next_one_as_it_was(quantization, images):
    first = quantization.predict(QuantizationPlan(), images)
    quantization.predict(QuantizationPlan(ranges="mse", keep_float=quantization.layers[:3]), images)
    np.testing.assert_array_equal(quantization.predict(QuantizationPlan(), images), first)
