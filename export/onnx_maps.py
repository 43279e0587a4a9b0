"""An .onnx file that also gives its last feature map, from which an app draws where the model looked."""

from __future__ import annotations

from typing import Any

from attar.export.activation_map import FEATURE_MAP, ActivationMap
from attar.extras import require

_THROUGH = ("ReduceMean", "GlobalAveragePool", "Flatten", "Reshape", "QuantizeLinear", "DequantizeLinear", "Cast")
"""What stands between the last feature map and the classifier."""


def with_map(content: bytes) -> tuple[bytes, ActivationMap] | None:
    """A file with the map as a second output, and where the weights stand in it.

    Args:
        content: an .onnx file as `attar.export.onnx` writes it.

    Returns:
        None if its graph does not end so, its map has one cell, or its classifier's weights are of another type.
    """
    onnx = require("onnx")
    model = onnx.load_model_from_string(content)
    net = _Graph(onnx, model)
    found = net.classifier()
    if found is None:
        return None
    features, weights = found
    channels, height, width = net.sides(features)[1:]
    kinds = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.FLOAT: "float32"}
    kind = kinds.get(weights.data_type)
    if kind is None or not weights.raw_data or height * width == 1:
        return None
    net.add_output(features, [channels, height, width])
    written = model.SerializeToString()
    offset = written.find(weights.raw_data)
    return written, ActivationMap(FEATURE_MAP, "nchw", height, width, channels, kind, offset)


class _Graph:
    """The graph, walked from its end."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self._onnx = onnx
        self._graph = model.graph
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._constants = {each.name: each for each in model.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self._tensors = {each.name: each.type.tensor_type for each in inferred.value_info}
        self._end = model.graph.output[0]

    def sides(self, tensor: str) -> list[int]:
        """Shape of a tensor; 0 stands for a side that is not known."""
        return [side.dim_value for side in self._tensors[tensor].shape.dim] if tensor in self._tensors else []

    def _back(self, tensor: str, *through: str) -> tuple[str, Any]:
        """The nearest tensor before these operators, and the node that makes it; None: it is an input or a constant."""
        node = self._makers.get(tensor)
        while node is not None and node.op_type in through:
            tensor = node.input[0]
            node = self._makers.get(tensor)
        return tensor, node

    def classifier(self) -> tuple[str, Any] | None:
        """(Feature map, the classifier's weights of shape (classes, channels))."""
        _, linear = self._back(self._end.name, "Softmax", "QuantizeLinear", "DequantizeLinear", "Cast")
        if linear is None or linear.op_type != "Gemm":
            return None
        if not any(each.name == "transB" and each.i == 1 for each in linear.attribute):
            return None  # a class's weights do not follow one another
        weights = self._constants.get(self._back(linear.input[1], "DequantizeLinear", "Cast")[0])
        features, node = self._back(linear.input[0], *_THROUGH)
        sides = self.sides(features)
        made = node is not None and node.op_type in ("Conv", "Relu")
        fits = weights is not None and len(sides) == 4 and 0 not in sides[1:] and sides[1] == weights.dims[-1]
        return (features, weights) if made and fits else None

    def add_output(self, features: str, sides: list[int]) -> None:
        """Make a tensor an output, in floats. An integer graph's gets a conversion of its own.

        ONNX Runtime joins a quantized operator with the conversions around it, if nothing else reads them.
        """
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        quantize = next(
            (each for each in self._graph.node if each.op_type == "QuantizeLinear" and each.input[0] == features), None
        )
        if quantize is not None:
            inputs = [quantize.output[0], *quantize.input[1:]]
            node = helper.make_node("DequantizeLinear", inputs, [FEATURE_MAP], name=FEATURE_MAP)
        else:
            node = helper.make_node("Cast", [features], [FEATURE_MAP], name=FEATURE_MAP, to=kinds.FLOAT)
        self._graph.node.append(node)
        batch = self._end.type.tensor_type.shape.dim[0]
        known = batch.dim_param or batch.dim_value
        self._graph.output.append(helper.make_tensor_value_info(FEATURE_MAP, kinds.FLOAT, [known, *sides]))
