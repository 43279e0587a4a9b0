"""The best that this machine does: multiply-adds per second in LiteRT, and bytes per second of copying.

Arithmetic is measured with a file made for it: a chain of 1x1 convolutions whose weights and images stay in a core's
cache, the operator that XNNPACK does best, in float and in int8. A phone file that came near these rates would have
nothing left to gain but doing less.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from attar.extras import require

SIDE, CHANNELS, LAYERS = 28, 256, 4
_SECONDS, _LEAST = 0.3, 5
_SCALE, _WEIGHT_SCALE = 0.05, 0.001


@dataclass(frozen=True)
class Rates:
    """Best rates of this machine, a second."""

    float_macs: float
    int8_macs: float


@cache
def rates(threads: int) -> Rates:
    """Multiply-adds a second of LiteRT's best operator, in float and in int8; measured once a process."""
    return Rates(*(_macs_a_second(integer, threads) for integer in (False, True)))


@cache
def copy_rate(size: int) -> float:
    """Bytes read and written a second by one thread that copies `size` bytes over and over."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return 2 * size / _fastest(lambda: np.copyto(target, source))


def convolutions(integer: bool) -> bytes:
    """A .tflite file: a chain of 1x1 convolutions over (1, SIDE, SIDE, CHANNELS), in float32 or int8."""
    from attar.export.tflite.graph import write

    schema = require("ai_edge_litert.schema_py_generated")
    graph, model = schema.SubGraphT(), schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3 if integer else 1  # the first with int8 weights
    model.operatorCodes, graph.tensors, graph.operators = [code], [], []
    rng = np.random.default_rng(0)
    last = _tensor(schema, model, "image", (1, SIDE, SIDE, CHANNELS), integer)
    graph.inputs = np.array([last], np.int32)
    for layer in range(LAYERS):
        values = rng.integers(-127, 128, (CHANNELS, 1, 1, CHANNELS))
        weight = values.astype(np.int8) if integer else (values / 1270).astype(np.float32)
        bias = np.zeros(CHANNELS, np.int32 if integer else np.float32)
        inputs = [
            last,
            _tensor(schema, model, f"weight {layer}", weight.shape, integer, weight),
            _tensor(schema, model, f"bias {layer}", bias.shape, integer, bias),
        ]
        last = _tensor(schema, model, f"layer {layer}", (1, SIDE, SIDE, CHANNELS), integer)
        graph.operators.append(_convolution(schema, inputs, last))
    graph.outputs = np.array([last], np.int32)
    return write(model)


def _convolution(schema: Any, inputs: list[int], output: int) -> Any:
    operator, options = schema.OperatorT(), schema.Conv2DOptionsT()
    operator.opcodeIndex, operator.builtinOptionsType = 0, schema.BuiltinOptions.Conv2DOptions
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    operator.builtinOptions = options
    return operator


def _tensor(
    schema: Any, model: Any, name: str, shape: tuple[int, ...], integer: bool, content: np.ndarray | None = None
) -> int:
    tensor, graph = schema.TensorT(), model.subgraphs[0]
    bias = content is not None and content.ndim == 1
    kind = "FLOAT32" if not integer else "INT32" if bias else "INT8"
    tensor.name, tensor.shape, tensor.type = name, np.array(shape, np.int32), getattr(schema.TensorType, kind)
    tensor.buffer, tensor.hasRank = 0, True
    if content is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    if integer:
        # Weights have a scale of their own for each output channel, as in the files that are compared with it.
        scale = [_SCALE] if content is None else [_SCALE * _WEIGHT_SCALE if bias else _WEIGHT_SCALE] * CHANNELS
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array(scale, np.float32)
        tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _macs_a_second(integer: bool, threads: int) -> float:
    from attar.benchmarks.runtimes import litert
    from attar.export.capture_output import captured

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "convolutions.tflite"
        path.write_bytes(convolutions(integer))
        with captured():
            session = litert.load(str(path), threads)
    values = np.random.default_rng(1).integers(-100, 100, session.shape)
    session.set_input(values.astype(np.int8) if integer else (values / 100).astype(np.float32))
    macs = LAYERS * SIDE * SIDE * CHANNELS * CHANNELS
    return macs / _fastest(session.infer)


def _fastest(run: Callable[[], None]) -> float:
    """Seconds of the fastest of many runs: a peak is what is reached when nothing disturbs."""
    taken: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(taken) < _LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)
