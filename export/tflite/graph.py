"""Giving a .tflite graph a uint8 image input at no cost.

The contract's normalization, (x - 128) / 128, is what a quantized tensor of scale 1/128 and zero point 128
means. So the input becomes such a tensor, followed by one operator that reads it: DEQUANTIZE before a float
graph, QUANTIZE (a change of zero point, from uint8 to int8) before an integer one. No arithmetic on pixels is
left to the file.
"""

from __future__ import annotations

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
    inner = graph.tensors[old]
    graph.tensors.append(_image_like(schema, inner, name))
    new = len(graph.tensors) - 1
    integer = inner.type == schema.TensorType.INT8
    code = schema.BuiltinOperator.QUANTIZE if integer else schema.BuiltinOperator.DEQUANTIZE
    reader = schema.OperatorT()
    reader.opcodeIndex = _operator_code(schema, model, code)
    reader.inputs, reader.outputs = np.array([new], np.int32), np.array([old], np.int32)
    reader.builtinOptionsType = (
        schema.BuiltinOptions.QuantizeOptions if integer else schema.BuiltinOptions.DequantizeOptions
    )
    reader.builtinOptions = schema.QuantizeOptionsT() if integer else schema.DequantizeOptionsT()
    graph.operators.insert(0, reader)
    graph.inputs = np.array([new], np.int32)
    for signature in model.signatureDefs or []:
        for item in signature.inputs:
            item.tensorIndex, item.name = new, name


def name_output(model: Any, name: str) -> None:
    """Give the graph's one output a name that says what it is, in place."""
    graph = model.subgraphs[0]
    [output] = graph.outputs
    graph.tensors[output].name = name
    for signature in model.signatureDefs or []:
        for item in signature.outputs:
            item.name = name


def _image_like(schema: Any, inner: Any, name: str) -> Any:
    image = schema.TensorT()
    image.name, image.shape, image.shapeSignature = name, inner.shape, inner.shapeSignature
    image.type, image.buffer, image.hasRank = schema.TensorType.UINT8, 0, True
    image.quantization = schema.QuantizationParametersT()
    image.quantization.scale = np.array([1 / STD], np.float32)
    image.quantization.zeroPoint = np.array([int(MEAN)], np.int64)
    return image


def _operator_code(schema: Any, model: Any, code: int) -> int:
    for index, known in enumerate(model.operatorCodes):
        if known.builtinCode == code:
            return index
    added = schema.OperatorCodeT()
    # Codes below 127 also stand in the older, one-byte field. `versions.declare` raises the version.
    added.builtinCode, added.deprecatedBuiltinCode, added.version = code, min(code, 127), 1
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1
