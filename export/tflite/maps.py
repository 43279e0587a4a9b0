"""A .tflite file that also gives its last feature map, from which an app draws where the model looked."""

from __future__ import annotations

from typing import Any

import numpy as np

from attar.export.activation_map import FEATURE_MAP, ActivationMap
from attar.export.tflite import graph
from attar.extras import require


def with_map(content: bytes) -> tuple[bytes, ActivationMap] | None:
    """A file with the map as a second output, and where the weights stand in it.

    Args:
        content: a .tflite file as `attar.export.litert` writes it.

    Returns:
        None if its graph does not end so, its map has one cell, or its classifier's weights are of another type.
    """
    schema = require("ai_edge_litert.schema_py_generated")
    model = graph.read(content)
    net = _Graph(schema, model)
    found = net.classifier()
    if found is None:
        return None
    features, weights = found
    _, height, width, channels = (int(side) for side in net.tensors[features].shape)
    data = model.buffers[net.tensors[weights].buffer].data
    kind = {schema.TensorType.INT8: "int8", schema.TensorType.FLOAT16: "float16", schema.TensorType.FLOAT32: "float32"}
    name = kind.get(net.tensors[weights].type)
    if name is None or data is None or height * width == 1:
        return None
    _add_output(schema, model, features)
    written = graph.write(model)
    offset = written.find(bytes(data))
    return written, ActivationMap(FEATURE_MAP, "nhwc", height, width, channels, name, offset)


class _Graph:
    """The first subgraph, walked from its end."""

    def __init__(self, schema: Any, model: Any) -> None:
        self._codes = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        self._model = model
        self.tensors = model.subgraphs[0].tensors
        self._makers = {int(out): each for each in model.subgraphs[0].operators for out in each.outputs}
        self._end = model.subgraphs[0].outputs[0]

    def _maker(self, tensor: int) -> tuple[str, Any]:
        """The operator that makes a tensor; the graph's inputs and constants have none."""
        operator = self._makers.get(int(tensor))
        if operator is None:
            return "", None
        code = self._model.operatorCodes[operator.opcodeIndex]
        return self._codes[max(code.builtinCode, code.deprecatedBuiltinCode)], operator

    def _back(self, tensor: int, *through: str) -> tuple[int, str, Any]:
        """The nearest tensor before these operators, and what makes it."""
        name, operator = self._maker(tensor)
        while name in through:
            tensor = int(operator.inputs[0])
            name, operator = self._maker(tensor)
        return tensor, name, operator

    def classifier(self) -> tuple[int, int] | None:
        """(feature map, the classifier's weights), as numbers of tensors."""
        _, name, linear = self._back(self._end, "SOFTMAX", "DEQUANTIZE", "QUANTIZE")
        if name != "FULLY_CONNECTED":
            return None
        weights, _, _ = self._back(int(linear.inputs[1]), "DEQUANTIZE")
        ways = ("MUL", "SUM", "MEAN", "AVERAGE_POOL_2D", "RESHAPE", "TRANSPOSE", "DEQUANTIZE", "QUANTIZE")
        features, name, _ = self._back(int(linear.inputs[0]), *ways)
        shape = [int(side) for side in self.tensors[features].shape]
        fits = len(shape) == 4 and shape[3] == int(self.tensors[weights].shape[-1])
        return (features, weights) if name == "CONV_2D" and fits else None


def _add_output(schema: Any, model: Any, features: int) -> None:
    """Make a tensor an output, in floats."""
    net = model.subgraphs[0]
    number = features
    if net.tensors[features].type != schema.TensorType.FLOAT32:
        number = graph.dequantized(model, features, FEATURE_MAP)
    else:
        net.tensors[features].name = FEATURE_MAP
    net.outputs = np.array([*net.outputs, number], np.int32)
    for signature in model.signatureDefs or []:
        item = schema.TensorMapT()
        item.name, item.tensorIndex = FEATURE_MAP, number
        signature.outputs.append(item)
