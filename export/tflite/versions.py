"""Which TFLite runtime a .tflite file needs.

Every operator code carries a version, and a runtime refuses a version that it does not know. The version follows
from the types of the operator's tensors and from its options (TensorFlow, lite/tools/versioning/op_version.cc), and
the first runtime that knows it is listed (runtime_version.cc beside it). The converter fills in both, but rewriting a
graph's tensors, as the quantizer and `attar.export.tflite.graph` do, leaves them as they were for the float graph. So
they are worked out again here, for the operators that our students use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attar.extras import require

NAME = "min_runtime_version"
"""The metadata entry that TensorFlow's converter keeps the runtime version in, as 16 bytes."""

FIRST_RUNTIMES = {
    "ADD": "1.5 1.14 2.4 2.6",
    "AVERAGE_POOL_2D": "1.5 1.14 2.3",
    "BATCH_MATMUL": "2.3 2.3 2.4 2.5",
    "BROADCAST_TO": "- 2.5 2.5",
    "CONCATENATION": "1.5 1.14 2.3",
    "CONV_2D": "1.5 1.14 1.14 2.3 2.4 2.9",
    "DEPTHWISE_CONV_2D": "1.5 1.12 1.14 2.2 2.3 2.3",
    "DEQUANTIZE": "1.13.1 1.14 1.15 2.2 2.7",
    "DIV": "1.6 2.3",
    "FULLY_CONNECTED": "1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3",
    "GELU": "2.9 2.9",
    "HARD_SWISH": "1.15",
    "LOGISTIC": "1.14 1.14 2.3",
    "MAX_POOL_2D": "1.5 1.14 2.3",
    "MAXIMUM": "1.14 1.14 2.3 2.3",
    "MEAN": "1.6 1.14 2.4",
    "MINIMUM": "1.14 1.14 2.3 2.3",
    "MUL": "1.5 1.14 1.15 2.3 2.6",
    "PAD": "1.5 1.14 2.4 2.6",
    "PADV2": "1.9 1.14 2.4 2.6",
    "QUANTIZE": "1.14 1.15 2.7",
    "RELU": "1.5 2.1 2.5",
    "RELU6": "1.5 1.14 2.5",
    "RELU_0_TO_1": "2.10",
    "RESHAPE": "1.5",
    "RSQRT": "1.10 2.5",
    "SOFTMAX": "1.5 1.14 2.3",
    "SQUARED_DIFFERENCE": "1.13.1 2.5",
    "STRIDED_SLICE": "1.6 1.14 2.1 2.2 2.5 2.6",
    "SUB": "1.6 1.14 2.3 2.4 2.4",
    "SUM": "1.10 1.15",
    "TRANSPOSE": "1.6 1.14 1.15 2.3 2.4",
}
"""The first runtime of every version of an operator, from version 1 on."""

UNKNOWN = 1000
"""The version of an operator whose tensors the rules here do not cover."""

_OTHERS = {"INT2", "INT4", "INT16", "COMPLEX64"}


@dataclass(frozen=True)
class _Tensor:
    type: str
    scales: tuple[float, ...]

    @property
    def per_channel(self) -> bool:
        return len(self.scales) > 1


def declare(model: Any) -> None:
    """Set the versions of a model's operator codes to what its operators need, and its runtime version, in place."""
    for index, version in _needed(model).items():
        code = model.operatorCodes[index]
        code.version = max(code.version, version if version < UNKNOWN else 1)
    runtime = minimum(model)
    for item in model.metadata or []:
        if item.name in (NAME, NAME.encode()):
            text = (runtime or "").encode().ljust(16, b"\0")
            model.buffers[item.buffer].data = np.frombuffer(text, np.uint8)


def minimum(model: Any) -> str | None:
    """The oldest TFLite runtime that runs a model, such as `2.3.0`; None if an operator is not in the table."""
    names = _names("BuiltinOperator")
    needed = _needed(model)
    newest = (0, 0, 0)
    for index, code in enumerate(model.operatorCodes):
        version = max(code.version, needed.get(index, 1))
        first = FIRST_RUNTIMES.get(names[code.builtinCode], "").split()
        if version > len(first) or first[version - 1] == "-":
            return None
        parts = [int(part) for part in first[version - 1].split(".")]
        newest = max(newest, (parts[0], parts[1], parts[2] if len(parts) > 2 else 0))
    return ".".join(map(str, newest))


def _needed(model: Any) -> dict[int, int]:
    """For every operator code in use, the highest version that one of its operators needs."""
    names, types = _names("BuiltinOperator"), _names("TensorType")
    needed: dict[int, int] = {}
    for graph in model.subgraphs:
        tensors = [_Tensor(types[t.type], _scales(t)) for t in graph.tensors]
        for operator in graph.operators:
            # An optional input that is left out, such as a bias, still counts as one.
            inputs = [tensors[i] if i >= 0 else _Tensor("", ()) for i in operator.inputs]
            outputs = [tensors[i] for i in operator.outputs if i >= 0]
            name = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
            version = _version(name, inputs, outputs, operator.builtinOptions)
            needed[operator.opcodeIndex] = max(needed.get(operator.opcodeIndex, 1), version)
    return needed


def _version(name: str, inputs: Sequence[_Tensor], outputs: Sequence[_Tensor], options: Any) -> int:
    """The version of one operator, by the rules of op_version.cc, for float, float16 and 8-bit tensors."""
    first = inputs[0].type if inputs else ""
    if _OTHERS & {tensor.type for tensor in inputs}:
        return UNKNOWN
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return _convolution(name, inputs, options)
    if name == "FULLY_CONNECTED":
        return _fully_connected(inputs, options)
    if name == "DEQUANTIZE":
        return {"FLOAT16": 3, "INT8": 5 if inputs[0].per_channel else 2}.get(first, 1)
    if name == "QUANTIZE":
        return 3 if outputs[0].per_channel else 1
    if name == "MUL" and first == "INT8":
        a, b, c = (tensor.scales[0] for tensor in (*inputs, *outputs))
        return 3 if a * b / c >= 1 else 2
    return 2 if first == "INT8" and name not in ("RESHAPE", "DIV", "HARD_SWISH", "SQUARED_DIFFERENCE") else 1


def _convolution(name: str, inputs: Sequence[_Tensor], options: Any) -> int:
    kinds = (inputs[0].type, inputs[1].type)
    if kinds == ("FLOAT32", "INT8"):  # weights in 8 bits, multiplied by activations that are quantized as they come
        plain, per_channel = (2, 5) if name == "CONV_2D" else (4, 6)
        return per_channel if inputs[1].per_channel else plain
    if kinds == ("INT8", "INT8"):
        return 3
    dilated = max(options.dilationWFactor, options.dilationHFactor) > 1
    return 2 if name == "DEPTHWISE_CONV_2D" and dilated else 1


def _fully_connected(inputs: Sequence[_Tensor], options: Any) -> int:
    kinds = (inputs[0].type, inputs[1].type)
    if kinds == ("FLOAT32", "INT8") and inputs[1].per_channel:
        return 12
    if len(inputs) == 2:
        return 6
    if options.keepNumDims:
        return 5
    if kinds == ("FLOAT32", "INT8"):
        return 9 if options.asymmetricQuantizeInputs else 3
    return 4 if kinds == ("INT8", "INT8") else 1


def _scales(tensor: Any) -> tuple[float, ...]:
    quantization = tensor.quantization
    return (
        ()
        if quantization is None or quantization.scale is None
        else tuple(float(scale) for scale in quantization.scale)
    )


def _names(enumeration: str) -> dict[int, str]:
    schema = require("ai_edge_litert.schema_py_generated")
    return {v: k for k, v in vars(getattr(schema, enumeration)).items() if isinstance(v, int)}
