"""ONNX: a student as an .onnx file, and running one.

Input: uint8 images (batch, H, W, 3), any batch. Output: float32 probabilities (batch, classes). Labels and
preprocessing stand in the file's metadata_props, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from attar.bundle import Bundle
from attar.export import free_batch
from attar.export.artifact_cache import shared
from attar.export.classifier import FAMILIARITY, PROBABILITIES, WORDS, Classifier
from attar.export.metadata import about, in_words
from attar.export.npu import emulator, kernels
from attar.export.plan import QuantizationPlan, Tools
from attar.export.qdq import Device, Quantization
from attar.export.runners.onnx import OnnxRunner
from attar.export.subprocess_runner import SubprocessRunner
from attar.extras import require
from attar.preprocessing import MEAN, STD
from attar.students import Student
from attar.students.rewrites import folded

IMAGE = "image"
"""Name of the input in a file written here."""

OPSET = 18
"""Version of ONNX's operators in every file: the oldest that torch's exporter writes without converting its graph, so
that apps need no newer ONNX Runtime than they must (1.18, for the form of the file). Integer files keep it too. The
`onnx` package's reference evaluator computes those from 19 on only: `onnx.version_converter` makes it such a copy."""


BY_PLAN = ("int8", "int8+fp")
"""Precisions that are quantized by plan: `convert` takes the plain one, `attar.export.recovery` finds another."""


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write an .onnx file.

    Args:
        student: the model, in evaluation mode.
        bundle: its labels, preprocessing and provenance.
        precision: `fp32`, `fp16` (half-size weights) or `int8` (QDQ, weights per channel, activations per tensor;
            `int8+fp`: some layers may stay float).
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        destination: the file to write.
    """
    if precision in BY_PLAN:
        return ByPlan(student, bundle, precision, calibration).write(QuantizationPlan(), destination)
    model = require("onnx").load_model_from_string(float_content(student, bundle))
    if precision == "fp16":
        halve_weights(model)
    destination.write_bytes(finished(model, bundle, f"onnx:{precision}"))


class ByPlan:
    """A student's integer files, one for each plan; see `attar.export.plan.ByPlan`.

    Args as of `convert`; `form` is the format that they are of.
    """

    tools: Tools = ()

    def __init__(
        self, student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, form: str = "onnx"
    ) -> None:
        self._bundle, self._target = bundle, f"{form}:{precision}"
        self._quantization = Quantization(float_content(student, bundle), calibration, Device())
        self.content = lru_cache(maxsize=1)(self._content)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that a plan may keep float."""
        return self._quantization.layers

    def _content(self, plan: QuantizationPlan) -> bytes:
        model = require("onnx").load_model_from_string(self._quantization.quantize(plan))
        return finished(model, self._bundle, self._target)

    def write(self, plan: QuantizationPlan, destination: Path) -> None:
        """Write the file of a plan."""
        destination.write_bytes(self.content(plan))

    def predict(self, plan: QuantizationPlan, images: np.ndarray) -> np.ndarray:
        """What the file of a plan answers to uint8 images (N, H, W, 3): probabilities (N, classes)."""
        return OnnxRunner(self.content(plan)).predict(images)


def finished(model: Any, bundle: Bundle, target: str) -> bytes:
    """The file of a graph, checked, with what `attar.export.metadata` knows in its metadata_props."""
    _drop_unused_domains(model)
    describe(model, bundle, target)
    require("onnx").checker.check_model(model)
    return bytes(model.SerializeToString())


def _drop_unused_domains(model: Any) -> None:
    """Import only the sets of operators that the graph uses: the quantizer imports eight of Microsoft's besides.

    A runtime that does not know a set which is imported may refuse the file, or warn of it.
    """
    used = {"", *(node.domain for node in model.graph.node)}
    kept = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def describe(model: Any, bundle: Bundle, target: str, more: Mapping[str, str] | None = None) -> None:
    """Write into the file what someone who meets it alone needs to know, and `more`."""
    facts = {**about(bundle, target), **(more or {})}
    said = {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items() if not isinstance(value, str)}
    require("onnx").helper.set_model_props(model, {**facts, **said})
    model.producer_name, model.producer_version = "attar", facts["attar"]
    model.doc_string = model.graph.doc_string = (
        f"{bundle.name}: image classifier of {len(bundle.labels)} classes, {target}."
    )
    model.graph.input[0].doc_string = in_words(bundle)
    model.graph.output[0].doc_string = "Probabilities, in the order of `labels` in the metadata; they sum to 1."
    for output in model.graph.output[1:]:
        output.doc_string = WORDS[output.name]


def float_content(student: Student, bundle: Bundle) -> bytes:
    """The float .onnx, which every precision starts from."""
    return shared(f"float onnx {bundle.network_fingerprint}", lambda: _converted(student, bundle))


def _converted(student: Student, bundle: Bundle) -> bytes:
    require("onnxscript")
    network = Classifier(folded(student.answering())).eval()
    size = bundle.preprocessing.size
    model = _of_any_batch(network, size, [PROBABILITIES, *([FAMILIARITY] if student.familiarity else [])])
    _begin_with_pixels(model, size)
    kernels.widen(model)
    return bytes(model.SerializeToString())


def _of_any_batch(network: nn.Module, size: int, outputs: list[str]) -> Any:
    """The graph of a network of normalized images, for batches of any size."""
    model = _traced(network, size, outputs, free_batch.TRACED)
    return model if free_batch.free(model) else _traced(network, size, outputs, None)


def _traced(network: nn.Module, size: int, outputs: list[str], batch: int | None) -> Any:
    """The same, for one size of the batch; None: traced with a free one."""
    free: dict[str, Any] = {} if batch else {"dynamic_shapes": ({0: torch.export.Dim(free_batch.NAME)},)}
    program = torch.onnx.export(
        network,
        (torch.zeros(batch or 2, 3, size, size),),  # torch.export takes a free batch of one for a constant
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=["normalized"],
        output_names=outputs,
        **free,
    )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where in whose folders each operator's source stands
    return program.model_proto


def _begin_with_pixels(model: Any, size: int) -> None:
    """Replace the input of normalized images by one of uint8 images (batch, H, W, 3), in place.

    A pixel is a quantized tensor of scale 1/128 and zero point 128 (`attar.preprocessing`), so one DequantizeLinear
    normalizes it, exactly. A Cast and arithmetic would do on a CPU; compilers for Qualcomm's NPU make x / 255 of a Cast
    from uint8 to float, and every answer is then the same.
    """
    helper, numpy_helper = require("onnx.helper"), require("onnx.numpy_helper")
    uint8, graph = require("onnx").TensorProto.UINT8, model.graph
    [normalized] = graph.input
    scale = numpy_helper.from_array(np.float32(1 / STD), f"{IMAGE}.scale")
    zero = numpy_helper.from_array(np.uint8(MEAN), f"{IMAGE}.zero_point")
    values = f"{IMAGE}.values"
    first = [
        helper.make_node("DequantizeLinear", [IMAGE, scale.name, zero.name], [values], name=f"{IMAGE}.normalize"),
        helper.make_node("Transpose", [values], [normalized.name], name=f"{IMAGE}.transpose", perm=[0, 3, 1, 2]),
    ]
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([scale, zero])
    batch = normalized.type.tensor_type.shape.dim[0].dim_param
    normalized.CopyFrom(helper.make_tensor_value_info(IMAGE, uint8, [batch, size, size, 3]))


def halve_weights(model: Any) -> None:
    """Store weights in half precision, each behind a Cast that the runtime folds away when it loads the file.

    Computing in half precision as well is slower where it matters: ONNX Runtime's CPU kernels on x86 have no half
    precision and cast around every operator (MobileNetV3-large, one thread: 1.3 times the latency of fp32; this: 1.0).
    """
    onnx = require("onnx")
    graph, casts = model.graph, []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue  # biases and scalars: few bytes, and the most to lose
        name, values = weight.name, onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def open_runner(path: Path, threads: int = 1) -> OnnxRunner:
    """Load an .onnx file."""
    return OnnxRunner(path, threads)


def second_opinions(path: Path) -> dict[str, Callable[[], SubprocessRunner]]:
    """Other evaluators of an .onnx file that this machine has: a phone's NPU, emulated."""
    return {emulator.NAME: partial(emulator.NpuRunner, path)} if emulator.is_wanted() else {}
