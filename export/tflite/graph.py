"""Giving a .tflite graph a uint8 image input at no cost.

The contract's normalization, (x - 128) / 128, is what a quantized tensor of scale 1/128 and zero point 128
means. So the input becomes such a tensor, and DEQUANTIZE reads it for a float graph; no arithmetic on pixels is left
to the file. For an integer graph QUANTIZE follows: back to int8, exactly. One QUANTIZE from uint8 to int8 would do
the same, but XNNPACK leaves it to a reference kernel, which takes longer than its own two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attar.extras import require
from attar.preprocessing import MEAN, STD


def read(content: bytes) -> Any:
    """A .tflite flatbuffer as the schema's object tree."""
    schema = require("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(bytearray(content))
    for buffer in model.buffers:
        if buffer.offset > 1:  # the data stands behind the flatbuffer, as ai-edge-quantizer writes it
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def write(model: Any) -> bytes:
    """The object tree as a .tflite flatbuffer, weights aligned to 16 bytes as the schema asks (`force_align`)."""
    flatbuffers = require("flatbuffers")

    class Builder(flatbuffers.Builder):  # type: ignore[name-defined]
        def CreateNumpyVector(self, x: np.ndarray) -> int:
            # The generated code aligns a buffer to its element, which is a byte.
            self.Prep(16, x.nbytes)
            return int(super().CreateNumpyVector(x))

    builder = Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def with_image_input(model: Any, name: str) -> None:
    """Replace the graph's one input, float or int8, by a uint8 image of the same shape, in place."""
    schema = require("ai_edge_litert.schema_py_generated")
    graph = model.subgraphs[0]
    [old] = graph.inputs
    new = _add_tensor(schema, graph, name, old, schema.TensorType.UINT8)
    graph.tensors[new].quantization.scale = np.array([1 / STD], np.float32)
    graph.tensors[new].quantization.zeroPoint = np.array([int(MEAN)], np.int64)
    if graph.tensors[old].type == schema.TensorType.INT8:
        pixels = _add_tensor(schema, graph, f"{name}/normalized", old, schema.TensorType.FLOAT32)
        graph.operators.insert(0, _operator(schema, model, "Quantize", pixels, old))
        old = pixels
    graph.operators.insert(0, _operator(schema, model, "Dequantize", new, old))
    graph.inputs = np.array([new], np.int32)
    for signature in model.signatureDefs or []:
        for item in signature.inputs:
            item.tensorIndex, item.name = new, name


def name_inputs(model: Any, names: Sequence[str]) -> None:
    """Give the graph's inputs, in their order, names that say what they are, in place."""
    _name(model, model.subgraphs[0].inputs, names, "inputs")


def name_outputs(model: Any, names: Sequence[str]) -> None:
    """Give the graph's outputs, in their order, names that say what they are, in place."""
    _name(model, model.subgraphs[0].outputs, names, "outputs")


def _name(model: Any, tensors: Sequence[int], names: Sequence[str], end: str) -> None:
    for tensor, name in zip(tensors, names, strict=True):
        model.subgraphs[0].tensors[tensor].name = name
        for signature in model.signatureDefs or []:
            for item in getattr(signature, end):
                if item.tensorIndex == tensor:
                    item.name = name


def dequantized(model: Any, tensor: int, name: str) -> int:
    """Add a float copy of an integer tensor to the end of the graph, in place -> its number."""
    schema = require("ai_edge_litert.schema_py_generated")
    graph = model.subgraphs[0]
    copy = _add_tensor(schema, graph, name, tensor, schema.TensorType.FLOAT32)
    graph.operators.append(_operator(schema, model, "Dequantize", tensor, copy))
    return copy


def _add_tensor(schema: Any, graph: Any, name: str, like: int, kind: int) -> int:
    """A tensor of the shape of number `like`, without content -> its number."""
    shape = graph.tensors[like]
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.shapeSignature = name, shape.shape, shape.shapeSignature
    tensor.type, tensor.buffer, tensor.hasRank = kind, 0, True
    tensor.quantization = schema.QuantizationParametersT()
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(schema: Any, model: Any, name: str, source: int, result: int) -> Any:
    """A Quantize or a Dequantize from one tensor to another."""
    operator = schema.OperatorT()
    operator.opcodeIndex = _operator_code(schema, model, getattr(schema.BuiltinOperator, name.upper()))
    operator.inputs, operator.outputs = np.array([source], np.int32), np.array([result], np.int32)
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
    operator.builtinOptions = getattr(schema, f"{name}OptionsT")()
    return operator


def _operator_code(schema: Any, model: Any, code: int) -> int:
    for index, entry in enumerate(model.operatorCodes):
        if entry.builtinCode == code:
            return index
    added = schema.OperatorCodeT()
    # Codes below 127 also stand in the older, one-byte field. `versions.declare` raises the version.
    added.builtinCode, added.deprecatedBuiltinCode, added.version = code, min(code, 127), 1
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1
