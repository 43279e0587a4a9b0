"""Core ML: a student as an .mlpackage, and running one, with or without a Mac.

The file takes an RGB image and gives the label and every class's probability. `coreml:fp16` computes in
half precision; `w8`, `lut6` and `lut4` are the same program with weights stored in 8, 6 or 4 bits; `w8a8`
has weights and activations of 8 bits, calibrated without a Mac (`attar.export.mil.activations`), and of `w8a8+fp` some
layers may stay in half precision; and `fp32` computes in single precision (which keeps it off the Neural Engine).
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._decomp import get_decompositions

from attar.bundle import Bundle
from attar.errors import InputError
from attar.export.artifact_cache import shared_path
from attar.export.classifier import FAMILIARITY, WORDS, Classifier
from attar.export.metadata import about, in_words
from attar.export.mil import activations
from attar.export.mil.passes import checked_once
from attar.export.plan import QuantizationPlan, Tools
from attar.export.ranges import estimated
from attar.export.runners.coreml import COMPUTE_UNITS, CoreMLRunner, ReferenceRunner, check_pixels
from attar.extras import require
from attar.files import replacing
from attar.inference import to_tensor
from attar.preprocessing import MEAN, STD
from attar.students import Student
from attar.students.rewrites import folded

PRECISIONS = ("fp32", "fp16", "w8", "lut6", "lut4", "w8a8", "w8a8+fp")
"""What `convert` can write."""

BY_PLAN = ("w8a8", "w8a8+fp")
"""Precisions that are quantized by plan: `convert` takes the plain one, `attar.export.recovery` finds another."""

INPUT = "image"
"""Name of the image input in a file written here."""

_TARGETS = {
    "fp32": "iOS15",
    "fp16": "iOS15",
    "w8": "iOS16",
    "lut6": "iOS18",
    "lut4": "iOS18",
    "w8a8": "iOS18",
    "w8a8+fp": "iOS18",
}
"""The oldest system that has what a precision needs: ML programs came with iOS 15, quantized weights with
iOS 16, one table for a group of channels with iOS 18. Quantized activations came with iOS 17, but signed
weights of the form before iOS 18 are reported to go wrong on the GPU and the Neural Engine (coremltools#2114),
and what gains from int8 arithmetic runs iOS 18."""

_GROUP_SIZE = 4
"""Output channels that share one table of 16 (or 64) weights: half a bit a weight in a layer of 64 inputs."""

_SMALLEST_TABLED = 16_384
"""Weights with fewer elements stay fp16 in `lut6` and `lut4`. In a MobileNet those are the first layers and
the squeeze-excites, which lose most accuracy and are a few per cent of the file."""


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write a student as a Core ML file.

    Args:
        student: the model, in evaluation mode.
        bundle: its description: labels, preprocessing, metrics.
        precision: one of `PRECISIONS`.
        calibration: uint8 training images (N, H, W, 3), which `w8a8` and `w8a8+fp` take the ranges of
            activations from; the other precisions need none.
        destination: the .mlpackage folder to write.

    Raises:
        InputError: an unknown precision, a label count that is not the student's, or calibration images that
            are none or of another size.
    """
    if precision not in PRECISIONS:
        raise InputError(f"coreml:{precision}: choose one of {', '.join(PRECISIONS)}.")
    if len(bundle.labels) != student.architecture["num_classes"]:
        raise InputError(f"{len(bundle.labels)} labels for a student of {student.architecture['num_classes']} classes.")
    if precision in BY_PLAN:
        return ByPlan(student, bundle, precision, calibration).write(QuantizationPlan(), destination)
    _save(_compressed(_program(student, bundle, precision), precision), bundle, precision, destination)


class ByPlan:
    """A student's files with integer activations, one for each plan; see `attar.export.plan.ByPlan`.

    Args and errors as of `convert`.

    Attributes:
        layers: names of the operators that a plan may keep in half precision.
    """

    tools: Tools = ()

    def __init__(self, student: Student, bundle: Bundle, precision: str, calibration: np.ndarray) -> None:
        size = bundle.preprocessing.size
        if not len(calibration):
            raise InputError(f"coreml:{precision}: no calibration images, and activations take their ranges from them.")
        check_pixels(calibration, (1, size, size, 3))
        self._bundle, self._precision = bundle, precision
        self._program = _program(student, bundle, precision)
        self._observed = activations.observe(self._program, _images(calibration))
        self.layers = activations.layers(activations.program_of(self._program))
        self._quantized = lru_cache(maxsize=1)(self._quantize)

    def write(self, plan: QuantizationPlan, destination: Path) -> None:
        """Write the file of a plan."""
        _save(self._quantized(plan), self._bundle, self._precision, destination)

    def predict(self, plan: QuantizationPlan, images: np.ndarray) -> np.ndarray:
        """What the file of a plan answers to uint8 images (N, H, W, 3), by the reference evaluator."""
        program = activations.program_of(self._quantized(plan))
        probabilities, *_ = program.evaluate_batch(_images(images), torch.get_num_threads())
        return probabilities.squeeze(1).numpy()

    @checked_once()
    def _quantize(self, plan: QuantizationPlan) -> Any:
        ranges = {name: estimated(plan.ranges, seen) for name, seen in self._observed.items()}
        # However small, a layer's weights must be integers for its arithmetic to be.
        weights = require("coremltools.optimize.coreml").OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=0
        )
        return activations.quantize(self._program, ranges, weights, plan.keep_float)


def _images(pixels: np.ndarray) -> torch.Tensor:
    """uint8 images (N, H, W, 3) as a program takes them: (N, 1, 3, H, W)."""
    return to_tensor(pixels).unsqueeze(1)


def _save(model: Any, bundle: Bundle, precision: str, destination: Path) -> None:
    _describe(model, bundle, precision)
    with replacing(destination) as folder:
        model.save(str(folder))


def _program(student: Student, bundle: Bundle, precision: str) -> Any:
    """The student as an ML program, weights not yet compressed. Precisions for the same systems share it."""
    ct = require("coremltools")
    kind = f"{_TARGETS[precision]} {_computed_in(precision)}"
    path = shared_path(
        f"coreml {kind} {bundle.fingerprint}",
        lambda path: _converted(student, bundle, precision).save(str(path)),
        suffix=".mlpackage",
    )
    if path:
        return ct.models.MLModel(str(path), skip_model_load=True)
    return _converted(student, bundle, precision)


_UNKNOWN = (torch.ops.aten.addcmul, torch.ops.aten.addcdiv)
"""Operators that coremltools 9 does not know, and that torch can take apart."""


def _computed_in(precision: str) -> str:
    """Name of the type that a file computes in, of coremltools' `precision`."""
    return "FLOAT32" if precision == "fp32" else "FLOAT16"


@checked_once()
def _converted(student: Student, bundle: Bundle, precision: str) -> Any:
    """The program, as coremltools makes it."""
    ct = require("coremltools")
    size = bundle.preprocessing.size
    example = torch.zeros(1, 3, size, size)
    classifier = Classifier(folded(student.answering())).eval()
    with torch.no_grad():
        # torch.export rather than torch.jit.trace: coremltools 9 fails on the shape arithmetic that tracing
        # leaves in EfficientNet-Lite's padding and MobileNetV4-hybrid's attention, and takes three times as long.
        exported = torch.export.export(classifier, (example,)).run_decompositions(get_decompositions(_UNKNOWN))
    _drop_aliases(exported.graph)
    probabilities, *more = exported.graph_signature.user_outputs
    config = ct.ClassifierConfig(list(bundle.labels), predicted_probabilities_output=probabilities if more else None)
    passes = ct.PassPipeline.DEFAULT
    if more:
        passes.append_pass(_forget_types())
    model = ct.convert(
        exported,
        convert_to="mlprogram",
        inputs=[
            ct.ImageType(name=INPUT, shape=example.shape, scale=1 / STD, bias=[-MEAN / STD] * 3, color_layout="RGB")
        ],
        classifier_config=config,
        minimum_deployment_target=getattr(ct.target, _TARGETS[precision]),
        compute_precision=getattr(ct.precision, _computed_in(precision)),
        pass_pipeline=passes,
        skip_model_load=True,
    )
    return _renamed(model, more[0]) if more else model


def _drop_aliases(graph: torch.fx.Graph) -> None:
    """Remove what gives a tensor another name, in place, as slices of whole tensors do: coremltools 9 knows no such."""
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


@cache
def _forget_types() -> str:
    """The name of a last graph pass: with more results than a classifier's own, coremltools 9 looks for their types at
    other places than it put them, and fails. They are carried out by then, and looked at no more."""
    registry = require("coremltools.converters.mil.mil.passes.pass_registry")
    base: Any = require("coremltools.converters.mil.mil.passes.graph_pass").AbstractGraphPass

    @registry.register_pass(namespace="attar")
    class forget_output_types(base):
        def apply(self, program: Any) -> None:
            for function in program.functions.values():
                function.output_types = None

    return "attar::forget_output_types"


def _renamed(model: Any, familiarity: str) -> Any:
    """A program whose output of that name is called as in all files: names cannot be given beside a classifier's."""
    ct = require("coremltools")
    spec = model.get_spec()
    ct.utils.rename_feature(spec, familiarity, FAMILIARITY)
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


@checked_once()
def _compressed(model: Any, precision: str) -> Any:
    """The program with its weights stored as `precision` says."""
    if precision in ("fp32", "fp16"):
        return model
    optimize = require("coremltools.optimize.coreml")
    if precision == "w8":
        # uint8 around 127 is the same numbers as int8, of which see `_TARGETS`.
        config = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="uint8", granularity="per_channel")
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=config))
    entries = 2 ** int(precision.removeprefix("lut"))
    configs = {}
    for name, weight in optimize.get_weights_metadata(model, weight_threshold=_SMALLEST_TABLED).items():
        channels = weight.val.shape[0]
        # A depthwise kernel (one input channel) has few weights for each output and no redundancy among them.
        depthwise = weight.val.ndim == 4 and weight.val.shape[1] == 1
        configs[name] = (
            None
            if depthwise
            else optimize.OpPalettizerConfig(
                mode="custom",
                lut_function=partial(cluster, entries=entries),
                granularity="per_grouped_channel",
                group_size=math.gcd(channels, _GROUP_SIZE),
                channel_axis=0,
                weight_threshold=_SMALLEST_TABLED,
            )
        )
    return optimize.palettize_weights(model, optimize.OptimizationConfig(op_name_configs=configs))


def cluster(weights: np.ndarray, entries: int) -> tuple[np.ndarray, np.ndarray]:
    """A table for one group of weights, by k-means in one dimension (Lloyd 1982), and the place of every weight in it.

    Starts from the cube root of the density, which is optimal for many entries (Panter and Dite 1951), so it
    has no random part. On sorted values a round costs a binary search an entry; coremltools' own k-means takes
    thirty times as long and, from its one random start, ends with about a tenth more squared error.

    Returns the table (entries,) in the type of `weights`, and uint8 places, flat.
    """
    flat = weights.astype(np.float64).reshape(-1)
    values = np.sort(flat)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    counts, edges = np.histogram(values, 64)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
    table = np.interp((np.arange(entries) + 0.5) / entries, share / share[-1], edges)
    for _ in range(300):
        bounds = np.searchsorted(values, (table[1:] + table[:-1]) / 2)
        first, last = np.concatenate([[0], bounds]), np.concatenate([bounds, [len(values)]])
        members = last - first
        moved = np.where(members > 0, (sums[last] - sums[first]) / np.maximum(members, 1), table)
        settled = np.abs(moved - table).max() <= 1e-7 * (values[-1] - values[0])
        table = moved
        if settled:
            break
    places = np.searchsorted((table[1:] + table[:-1]) / 2, flat)
    return table.astype(weights.dtype), places.astype(np.uint8)


def _describe(model: Any, bundle: Bundle, precision: str) -> None:
    """Write into the file what someone who meets it alone needs to know."""
    model.short_description = f"{bundle.name} image classifier, {len(bundle.labels)} classes, coreml:{precision}."
    model.version = bundle.fingerprint[:12]
    facts = about(bundle, f"coreml:{precision}")
    model.license, model.author = facts["license"], facts["author"]
    model.input_description[INPUT] = in_words(bundle)
    description = model.get_spec().description
    model.output_description[description.predictedFeatureName] = "The most probable class."
    model.output_description[description.predictedProbabilitiesName] = "Probability of every class; they sum to 1."
    for output in description.output:
        if output.name in WORDS:
            model.output_description[output.name] = WORDS[output.name]
    for key, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        model.user_defined_metadata[f"attar.{key}"] = text
    # The day of conversion would make two exports of one bundle differ.
    model.user_defined_metadata.pop("com.github.apple.coremltools.conversion_date", None)


def open_runner(path: Path, threads: int = 1) -> ReferenceRunner:
    """The reference evaluator on a file. It is never timed, so it takes all of torch's threads, not `threads`."""
    return ReferenceRunner(Path(path))


def second_opinions(path: Path) -> dict[str, Callable[[], CoreMLRunner]]:
    """Core ML itself on each of its compute units, by name, to be opened one after another; none but on macOS."""
    if platform.system() != "Darwin":
        return {}
    return {f"Core ML {unit}": partial(CoreMLRunner, Path(path), unit) for unit in COMPUTE_UNITS}
