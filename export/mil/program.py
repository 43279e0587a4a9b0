"""Loading a saved Core ML file on any machine and computing what its ML program says, with torch.

Core ML itself runs on Apple's systems only, so elsewhere a file would ship without ever having been run.
Here the file is read back from disk, the compressed weights included, and its operators are evaluated
one by one (`attar.export.mil.ops`, `attar.export.mil.weights`).

**Precision.** Where the program declares an output fp16, the operator is computed in float32 from fp16
values and its result is rounded to fp16, once. That is an ideal fp16 machine: the Neural Engine and the
GPU also keep intermediate sums in some wider or narrower form, which no specification fixes, so a device
may differ from this by a few units in the last place, and no device is asked to agree bit for bit.

**Batches.** A program is compiled for one image. `torch.func.vmap` adds the batch axis outside of it, so
a reshape, a transpose or a reduction that names the leading 1 keeps the meaning it has in the file.

**Speed.** Values between operators are held as the file declares them, and elementwise operators work on
fp16 tensors as they are: less memory to move, which is what most of the time goes to. Batches are small,
so that activations stay in the processor's cache, and threads take a batch each, so that they never wait
for one another inside an operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import attar.export.mil.weights  # noqa: F401  (enters the constant expressions of weights into OPERATORS)
from attar.console import track
from attar.errors import InputError, did_you_mean
from attar.export import ranges
from attar.export.mil.ops import OPERATORS
from attar.export.ranges import Activation
from attar.extras import require

HALF = {
    *("relu", "relu6", "thresholded_relu", "abs", "identity", "maximum", "minimum", "select", "clip", "max_pool"),
    *("reduce_max", "reduce_min", "reshape", "transpose", "expand_dims", "squeeze", "concat", "stack", "split"),
    *("slice_by_index", "slice_by_size", "gather", "tile", "upsample_nearest_neighbor"),
    *("add", "sub", "mul"),
}
"""Operators that give the same on fp16 tensors as on float32 ones whose result is rounded: they choose among
their inputs' values, or are one arithmetic operation, which torch computes in float32 and rounds once."""

BATCH = 4
"""Images computed at once."""


@dataclass(frozen=True)
class Name:
    """A value that an earlier step or the program's input gives."""

    name: str


@dataclass(frozen=True)
class Step:
    """One operator: its inputs (constants as they are, others as `Name`), the names and types of its outputs."""

    operator: str
    inputs: dict[str, Any]
    outputs: tuple[str, ...]
    fp16: tuple[bool, ...]
    last_use_of: tuple[str, ...] = ()

    def __call__(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Evaluate the operator and round what the program declares fp16."""
        resolved = {key: _resolve(value, values, self.operator not in HALF) for key, value in self.inputs.items()}
        try:
            results = OPERATORS[self.operator](**resolved)
        except (NotImplementedError, TypeError) as error:
            raise InputError(
                f"operator {self.operator} ({self.outputs[0]}): a form that the Core ML reference evaluator "
                f"does not know ({error})."
            ) from error
        results = results if isinstance(results, tuple) else (results,)
        return tuple(value.half() if half else value for value, half in zip(results, self.fp16))


@dataclass(frozen=True)
class Program:
    """A loaded ML program of one image input.

    Attributes:
        input: the input's name, such as `image`.
        shape: its shape in the program, (1, 3, H, W) for an image.
        steps: the operators that depend on the input, in the file's order; constant ones are evaluated.
        outputs: the names of the program's results.
        labels: the classes of the classifier that ends the program, or none.
        constants: results that do not depend on the input.
        operators: how often each operator stands in the file, constants apart.
    """

    input: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    labels: tuple[str, ...] = ()
    constants: dict[str, Any] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)

    def evaluate(self, image: Tensor) -> tuple[Tensor, ...]:
        """The results for one input of `shape`, float32 where they are fractions."""
        values: dict[str, Any] = {self.input: image}
        for step in self.steps:
            values.update(zip(step.outputs, step(values)))
            for name in step.last_use_of:
                del values[name]
        return tuple(_single(values[name] if name in values else self.constants[name]) for name in self.outputs)

    def behind(self, result: str) -> set[str]:
        """Names of the values that a result is computed from, its own included."""
        found = {result}
        for step in reversed(self.steps):
            if found.intersection(step.outputs):
                found.update(name for value in step.inputs.values() for name in _names(value))
        return found

    def evaluate_batch(self, images: Tensor, threads: int = 1, title: str | None = None) -> tuple[Tensor, ...]:
        """The results for inputs (N, *shape), each with a leading N, under a progress bar if there is a title."""
        return tuple(torch.cat(parts) for parts in zip(*_in_batches(self.evaluate, images, threads, title)))

    def observe(self, images: Tensor, threads: int = 1, title: str | None = None) -> dict[str, Activation]:
        """What every fractional value of the program, its input included, holds on images (N, *shape)."""

        def seen_of(image: Tensor) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
            values: dict[str, Any] = {self.input: image}
            seen = {self.input: _seen(image, len(images))}
            for step in self.steps:
                results = dict(zip(step.outputs, step(values)))
                values.update(results)
                seen |= {name: _seen(x, len(images)) for name, x in results.items() if x.is_floating_point()}
                for name in step.last_use_of:
                    del values[name]
            return seen

        parts = _in_batches(seen_of, images, threads, title)
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _seen(value: Tensor, images: int) -> tuple[Tensor, Tensor, Tensor]:
    """One image's least and largest value, (2,), some of its values, and its channels' means (channels first)."""
    flat = value.flatten().float()
    channels = value.float().flatten(2).mean((0, 2)) if value.ndim > 2 else flat
    return torch.stack(flat.aminmax()), flat[:: ranges.stride(flat.numel(), images)], channels


def _joined(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Activation:
    """Batches of what `_seen` gives of one value."""
    extremes, values, means = (torch.cat([part[i] for part in parts]).numpy() for i in range(3))
    return Activation(extremes[:, 0], extremes[:, 1], values.ravel(), means.mean(0))


def _in_batches(function: Callable[[Tensor], Any], images: Tensor, threads: int, title: str | None) -> list[Any]:
    """A function of one image, on each of many: its results for every batch. Threads share out the batches."""
    batched = torch.func.vmap(function)

    @torch.no_grad()
    def run(start: int) -> Any:
        return batched(images[start : start + BATCH])

    starts = range(0, len(images), BATCH)
    before = torch.get_num_threads()
    try:
        # Each thread says so itself: convolutions ask OpenMP, which counts for every thread apart.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            results = pool.map(run, starts)
            return list(track(results, title, len(starts)) if title else results)
    finally:
        torch.set_num_threads(before)


def read_program(spec: Any, weights: Path, source: str) -> Program:
    """The program of a model specification (a `Model` protobuf) whose weight files lie in `weights`.

    Raises `InputError`, naming `source`, for a file that cannot be read, for an operator that is not
    known, and for a program with anything but one tensor or image input.
    """
    milproto = require("coremltools.converters.mil.frontend.milproto.load")
    try:
        loaded = milproto.load(spec, spec.specificationVersion, file_weights_dir=str(weights))
    except Exception as error:  # coremltools and its C++ reader raise anything on a damaged file
        raise InputError(f"{source}: not readable as an ML program ({error}). Export it again.") from error
    function = loaded.functions["main"]
    if len(function.inputs) != 1:
        raise InputError(f"{source}: has {len(function.inputs)} inputs, and one image is needed.")
    ((name, variable),) = function.inputs.items()
    operations = [operation for operation in function.operations if operation.op_type != "const"]
    _check_known(operations, source)
    outputs, labels = _results(function, operations)
    steps, constants = _fold([_step(op) for op in operations if op.op_type != "classify"], name)
    return Program(
        input=name,
        shape=tuple(int(size) for size in variable.shape),
        steps=_with_last_uses(steps, outputs),
        outputs=outputs,
        labels=labels,
        constants={key: value for key, value in constants.items() if key in outputs},
        operators=dict(Counter(operation.op_type for operation in operations)),
    )


def _check_known(operations: Sequence[Any], source: str) -> None:
    for operation in operations:
        kind = operation.op_type
        if kind not in OPERATORS and kind != "classify":
            raise InputError(
                f"{source}: operator {kind!r} ({operation.name}) is not known to the Core ML reference "
                f"evaluator.{did_you_mean(kind, OPERATORS)} Verify this file on a Mac, or add the operator to "
                "export/mil/ops.py."
            )


def _results(function: Any, operations: Sequence[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the program's results and its class labels; a classifier's first result is its probabilities."""
    named = tuple(output.name for output in function.outputs)
    for operation in operations:
        if operation.op_type == "classify":
            labels = tuple(str(label) for label in operation.classes.val)
            own = {output.name for output in operation.outputs}
            return (operation.probabilities.name, *(name for name in named if name not in own)), labels
    return named, ()


def _step(operation: Any) -> Step:
    inputs = {key: _input(value) for key, value in operation.inputs.items() if value is not None}
    return Step(
        operation.op_type,
        inputs,
        tuple(output.name for output in operation.outputs),
        tuple(_is_fp16(output) for output in operation.outputs),
    )


def _input(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_input(item) for item in value]
    if value.op is not None and value.op.op_type == "const":
        return _constant(value.val)
    return Name(value.name)


def _constant(value: Any) -> Any:
    """A constant of the file as a Python value (scalars, strings) or a float32, int32 or bool tensor."""
    if not isinstance(value, np.ndarray | np.generic):
        return value
    if value.ndim == 0:
        return value.item()
    kind = np.float32 if value.dtype.kind == "f" else np.bool_ if value.dtype.kind == "b" else np.int32
    return torch.from_numpy(np.ascontiguousarray(value.astype(kind)))


def _is_fp16(variable: Any) -> bool:
    types = require("coremltools.converters.mil.mil").types
    return variable.dtype == types.fp16


def _single(value: Any) -> Any:
    """An fp16 tensor in float32; anything else as it is."""
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.float16 else value


def _resolve(value: Any, values: Mapping[str, Any], single: bool) -> Any:
    """The value of an input; fp16 ones in float32 if `single`."""
    if isinstance(value, Name):
        return _single(values[value.name]) if single else values[value.name]
    return [_resolve(item, values, single) for item in value] if isinstance(value, list) else value


def _names(value: Any) -> list[str]:
    if isinstance(value, Name):
        return [value.name]
    return [name for item in value for name in _names(item)] if isinstance(value, list) else []


def _fold(steps: Sequence[Step], input_name: str) -> tuple[list[Step], dict[str, Any]]:
    """Evaluate once what does not depend on the input (weights, mostly); the other steps get the results."""
    constants: dict[str, Any] = {}
    variable = {input_name}
    rest = []
    for step in steps:
        inputs = {key: _replaced(value, constants) for key, value in step.inputs.items()}
        step = Step(step.operator, inputs, step.outputs, step.fp16)
        if any(name in variable for value in inputs.values() for name in _names(value)):
            variable.update(step.outputs)
            rest.append(step)
        else:
            constants.update(zip(step.outputs, map(_single, step(constants))))
    return rest, constants


def _replaced(value: Any, constants: Mapping[str, Any]) -> Any:
    if isinstance(value, Name):
        return constants.get(value.name, value)
    return [_replaced(item, constants) for item in value] if isinstance(value, list) else value


def _with_last_uses(steps: Sequence[Step], outputs: Sequence[str]) -> tuple[Step, ...]:
    """Note with each step the values that nothing needs after it, so that their memory is freed."""
    seen = set(outputs)
    result = []
    for step in reversed(steps):
        used = {name for value in step.inputs.values() for name in _names(value)} | set(step.outputs)
        result.append(Step(step.operator, step.inputs, step.outputs, step.fp16, tuple(sorted(used - seen))))
        seen |= used
    return tuple(reversed(result))
