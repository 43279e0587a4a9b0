"""Int8 activations and weights in an ML program, calibrated on any machine.

coremltools' `linear_quantize_activations` runs Core ML itself to see what values a program takes, so it
needs a Mac. Here the reference evaluator sees them, on every calibration image, and coremltools' own graph
passes then put `quantize` and `dequantize` (MIL, iOS17) around convolutions, linear layers, pools and
residual additions: the file has the form that coremltools writes on a Mac, which the Neural Engine
(A17 Pro, M4 and later) computes in int8.

A layer may stay in half precision, with its weights: nothing is then put around it.

A value is stored as uint8, as Apple's training-time quantizer does it
(`coremltools.optimize.torch.quantization`): zero point 0 where it is never negative, as after a ReLU, and 128
otherwise. The image, (x - 128) / 128, then *is* its quantized tensor, and zeros stay zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from attar.export.mil.program import Program, read_program
from attar.export.ranges import Activation
from attar.extras import require

Range = tuple[float, float]
"""The least and the largest value."""

_LEAST_SCALE = 2.0**-20
"""Of a value that was zero on every image, say; some bits above the least fp16 number."""

_QUANTIZED = ("conv", "linear", "avg_pool", "max_pool", "add")
"""Operators that coremltools' passes quantize."""


def program_of(model: Any) -> Program:
    """A model (an `MLModel` that was not saved) for the reference evaluator."""
    return read_program(model.get_spec(), Path(model.weights_dir), "the program to quantize")


def observe(model: Any, images: torch.Tensor) -> dict[str, Activation]:
    """What every value of an ML program holds on images in its own shape, (N, 1, 3, H, W), N >= 1."""
    return program_of(model).observe(images, torch.get_num_threads())


def layers(program: Program) -> tuple[str, ...]:
    """Names of the operators that may stay in half precision, in the program's order."""
    others = of_familiarity(program)
    return tuple(
        step.outputs[0] for step in program.steps if step.operator in _QUANTIZED and step.outputs[0] not in others
    )


def of_familiarity(program: Program) -> tuple[str, ...]:
    """Names of the operators that only results after the first need: integers do not hold what they compute."""
    first, *others = program.outputs
    needed, more = program.behind(first), [program.behind(name) for name in others]
    return tuple(step.outputs[0] for step in program.steps if {*step.outputs} <= set().union(*more) - needed)


def quantize(model: Any, ranges: Mapping[str, Range], weights: Any, keep_float: Sequence[str] = ()) -> Any:
    """A copy of an fp16 ML program (an `MLModel`, weights not yet compressed) with int8 activations and weights.

    The result of the last `linear`, the logits, stays fp16: 256 steps of logits would make probabilities equal
    that are not.

    Args:
        model: the program; it must not be older than iOS17.
        ranges: of every value by name, as observed; see `coverable`.
        weights: how layers' weights are quantized, an `OpLinearQuantizerConfig` of coremltools.
        keep_float: names of operators around which nothing is quantized, and whose weights are not, of `layers`.
    """
    coreml = require("coremltools.optimize.coreml")
    stats = {name: dict(zip(("rmin", "rmax"), coverable(extremes))) for name, extremes in ranges.items()}
    program = program_of(model)
    alone = of_familiarity(program)
    keep_float = [*keep_float, *alone]
    linear = [step.outputs[0] for step in program.steps if step.operator == "linear" and step.outputs[0] not in alone]
    logits = linear[-1:]
    uint8 = coreml.OpLinearQuantizerConfig(mode="linear", dtype="uint8", weight_threshold=0)
    before = coreml.OptimizationConfig(global_config=uint8, op_name_configs=dict.fromkeys(keep_float))
    after = coreml.OptimizationConfig(global_config=uint8, op_name_configs=dict.fromkeys([*logits, *keep_float]))
    layers = {"conv": weights, "linear": weights}
    of_weights = coreml.OptimizationConfig(op_type_configs=layers, op_name_configs=dict.fromkeys(keep_float))
    passes = [
        _relu6_by_name(),
        _pass("compression::insert_prefix_quantize_dequantize_pair", config=before, activation_stats=stats),
        _pass("compression::insert_suffix_quantize_dequantize_pair", config=after, activation_stats=stats),
        _pass("common::dequantize_quantize_pair_elimination"),
        _pass("compression::linear_quantize_weights", config=of_weights, joint_compression=False),
    ]
    # All at once: each call reads the program, and runs every pass of a conversion.
    return require("coremltools.models.utils")._apply_graph_pass(model, passes, model.get_spec().specificationVersion)


def coverable(observed: Range) -> Range:
    """The least range that uint8 covers with zero point 0 (never negative) or 128 (else), around what was found.

    The graph passes make (high - low) / 255 of it the scale, in fp16, where it must not vanish.
    """
    low, high = observed
    if low >= 0:
        return 0.0, 255 * max(high / 255, _LEAST_SCALE)
    scale = max(-low / 128, high / 127, _LEAST_SCALE)
    return -128 * scale, 127 * scale


def _pass(name: str, **options: Any) -> Any:
    """One of coremltools' graph passes, with its options set."""
    graph_pass = require("coremltools.converters.mil.mil.passes.pass_registry").PASS_REGISTRY[name]
    option = require("coremltools.converters.mil.mil.passes.graph_pass").PassOption
    graph_pass.set_options([option(key, value) for key, value in options.items()])
    return graph_pass


def _relu6_by_name() -> Any:
    """A graph pass that writes `clip` into [0, 6] as `relu6`: only by that name do coremltools' passes, and the
    Neural Engine, take it as part of the convolution before it."""
    mil = require("coremltools.converters.mil.mil")
    base: Any = require("coremltools.converters.mil.mil.passes.graph_pass").AbstractGraphPass

    class Relu6ByName(base):
        def apply(self, program: Any) -> None:
            for function in program.functions.values():
                with function:
                    for op in list(function.operations):
                        if op.op_type == "clip" and (op.alpha.val, op.beta.val) == (0, 6):
                            self._replace(op)

        def _replace(self, op: Any) -> None:
            name, block = op.outputs[0].name, op.enclosing_block
            new = mil.Builder.relu6(x=op.x, name=op.name, before_op=op)
            block.replace_uses_of_var_after_op(anchor_op=op, old_var=op.outputs[0], new_var=new)
            block.remove_ops([op])
            new.name = name

    return Relu6ByName()
